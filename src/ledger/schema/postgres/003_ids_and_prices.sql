-- Public and upstream ids of jobs, and the prices that a charge was made at.
--
-- From here on the column reservation.job holds the public id, unique in the ledger.

ALTER TABLE tollgate.reservation
    ADD COLUMN upstream_id text,
    ADD COLUMN price_list  text NOT NULL DEFAULT '';
COMMENT ON COLUMN tollgate.reservation.job IS 'The job''s public id, once confirmed: what clients see.';
COMMENT ON COLUMN tollgate.reservation.upstream_id IS 'The job''s id at its channel; null where it is the public id. The bytes 0 and 1 are written as 1 followed by the digit.';
COMMENT ON COLUMN tollgate.reservation.price_list IS 'The list prices by size of the model when it was reserved, such as 1280x720=0.10,720x1280=0.10: what a correction uses. Empty in reservations that are older than this column.';

-- An upstream id is unique at its channel: among those here, and, by a lock that confirm
-- takes, among those that are public ids too.
CREATE UNIQUE INDEX reservation_upstream ON tollgate.reservation (channel, upstream_id)
    WHERE upstream_id IS NOT NULL;
-- The few that were voided without a proof: jobs that turn up late may be theirs.
CREATE INDEX reservation_rival ON tollgate.reservation (channel, resolved_ms)
    WHERE state = 'voided' AND outcome IN ('not created', 'not found out');

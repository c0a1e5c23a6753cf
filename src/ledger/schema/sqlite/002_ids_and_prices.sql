-- Version 2: public and upstream ids of jobs, and the prices that a charge was made at.
--
-- From here on the column reservation.job holds the public id, unique in the ledger.

-- The job's id at its channel; null where it is the public one, as in all rows until now.
ALTER TABLE reservation ADD COLUMN upstream_id TEXT;
-- The list prices by size of the reservation's model, such as 1280x720=0.10,720x1280=0.10;
-- empty in rows of version 1.
ALTER TABLE reservation ADD COLUMN price_list TEXT NOT NULL DEFAULT '';

-- An upstream id is unique at its channel: among those here, and, which the one that writes
-- sees to, among those that are public ids too.
CREATE UNIQUE INDEX reservation_upstream ON reservation (channel, upstream_id)
    WHERE upstream_id IS NOT NULL;
-- The few that were voided without a proof: jobs that turn up late may be theirs.
CREATE INDEX reservation_rival ON reservation (channel, resolved_ms)
    WHERE state = 'voided' AND outcome IN ('not created', 'not found out');

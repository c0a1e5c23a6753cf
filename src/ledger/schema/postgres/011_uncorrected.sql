-- What a corrected charge was before.

ALTER TABLE tollgate.reservation
    ADD COLUMN uncorrected_size         text,
    ADD COLUMN uncorrected_seconds      bigint,
    ADD COLUMN uncorrected_list_nanos   bigint,
    ADD COLUMN uncorrected_billed_nanos bigint;
COMMENT ON COLUMN tollgate.reservation.uncorrected_size IS 'The size that the request asked for, where the charge was corrected because the job is another; else null.';
COMMENT ON COLUMN tollgate.reservation.uncorrected_seconds IS 'The seconds that it asked for, likewise.';
COMMENT ON COLUMN tollgate.reservation.uncorrected_list_nanos IS 'The list cost of what it asked for, in nanos of USD, likewise.';
COMMENT ON COLUMN tollgate.reservation.uncorrected_billed_nanos IS 'The billed cost of what it asked for, in nanos of the currency, likewise.';

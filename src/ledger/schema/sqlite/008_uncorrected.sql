-- Version 8: what a corrected charge was before.

-- What the request asked for and what that cost, where the charge was corrected because the job is
-- another; else null.
ALTER TABLE reservation ADD COLUMN uncorrected_size TEXT;
ALTER TABLE reservation ADD COLUMN uncorrected_seconds INTEGER;
ALTER TABLE reservation ADD COLUMN uncorrected_list_nanos INTEGER;
ALTER TABLE reservation ADD COLUMN uncorrected_billed_nanos INTEGER;

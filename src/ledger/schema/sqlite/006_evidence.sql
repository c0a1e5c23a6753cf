-- Version 6: what a dispute asks for: the id of the request, how its channel answered, and why
-- a job failed.

-- The id of the client's request: as in the client's answer, the log, and towards the channel.
ALTER TABLE reservation ADD COLUMN request_id TEXT;
-- How the channel answered the create: the HTTP status, its own id of the request, and what it gave
-- as a reason, or why there was no answer.
ALTER TABLE reservation ADD COLUMN answer_status INTEGER;
ALTER TABLE reservation ADD COLUMN answer_request_id TEXT;
ALTER TABLE reservation ADD COLUMN answer_error TEXT;
-- Why the job failed, in the channel's words.
ALTER TABLE reservation ADD COLUMN job_error_code TEXT;
ALTER TABLE reservation ADD COLUMN job_error_message TEXT;

CREATE INDEX reservation_request ON reservation (request_id) WHERE request_id IS NOT NULL;

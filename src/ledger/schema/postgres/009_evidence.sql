-- What a dispute asks for: the id of the request, how its channel answered, and why a job failed.

ALTER TABLE tollgate.reservation
    ADD COLUMN request_id        text,
    ADD COLUMN answer_status     integer,
    ADD COLUMN answer_request_id text,
    ADD COLUMN answer_error      text,
    ADD COLUMN job_error_code    text,
    ADD COLUMN job_error_message text;
COMMENT ON COLUMN tollgate.reservation.request_id IS 'The id of the client''s request: as in the client''s answer, the log, and towards the channel.';
COMMENT ON COLUMN tollgate.reservation.answer_status IS 'The HTTP status of the channel''s answer to the create.';
COMMENT ON COLUMN tollgate.reservation.answer_request_id IS 'The channel''s own id of the request.';
COMMENT ON COLUMN tollgate.reservation.answer_error IS 'What the channel gave as the reason of a refusal, or why there was no answer.';
COMMENT ON COLUMN tollgate.reservation.job_error_code IS 'Why the job failed: the channel''s code.';
COMMENT ON COLUMN tollgate.reservation.job_error_message IS 'Why the job failed: the channel''s message.';

CREATE INDEX reservation_request ON tollgate.reservation (request_id) WHERE request_id IS NOT NULL;

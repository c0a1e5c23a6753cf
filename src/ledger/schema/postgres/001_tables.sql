-- The ledger's tables, and the bill.
--
-- Amounts are whole nanos (10^-9 of a currency unit): nothing is ever rounded. Times are
-- milliseconds since 1970-01-01T00:00:00Z in columns named *_ms.

CREATE TABLE tollgate.reservation (
    id               uuid   PRIMARY KEY,
    created_ms       bigint NOT NULL,
    key              text   NOT NULL,
    group_name       text   NOT NULL,
    currency         text   NOT NULL,
    multiplier_thousandths bigint NOT NULL,
    channel          text   NOT NULL,
    model            text   NOT NULL,
    size             text   NOT NULL,
    seconds          bigint NOT NULL,
    list_nanos       bigint NOT NULL CHECK (list_nanos >= 0),
    billed_nanos     bigint NOT NULL CHECK (billed_nanos >= 0),
    state            text   NOT NULL
        CHECK (state IN ('pending', 'unknown', 'confirmed', 'posted', 'voided')),
    gate             uuid   NOT NULL,
    prompt_sha256    bytea  NOT NULL,
    remix_of         text,
    idempotency_key  text,
    job              text,
    place            bigint,
    confirmed_ms     bigint,
    unknown_since_ms bigint,
    look_at_ms       bigint NOT NULL,
    resolved_ms      bigint,
    outcome          text,
    deleted          boolean NOT NULL DEFAULT false,
    last_operation   uuid
);
COMMENT ON TABLE  tollgate.reservation IS 'Charges and the jobs that they became. The bill is in the view bill.';
COMMENT ON COLUMN tollgate.reservation.id IS 'Random; the gate''s logs name it.';
COMMENT ON COLUMN tollgate.reservation.created_ms IS 'When it was reserved. The day and month that it is billed in.';
COMMENT ON COLUMN tollgate.reservation.key IS 'The client key''s name: who pays.';
COMMENT ON COLUMN tollgate.reservation.group_name IS 'The key''s group when it was reserved.';
COMMENT ON COLUMN tollgate.reservation.currency IS 'The group''s currency, of billed_nanos.';
COMMENT ON COLUMN tollgate.reservation.multiplier_thousandths IS 'What one USD of list cost is billed as, in thousandths.';
COMMENT ON COLUMN tollgate.reservation.channel IS 'The upstream account.';
COMMENT ON COLUMN tollgate.reservation.seconds IS 'Seconds of video.';
COMMENT ON COLUMN tollgate.reservation.list_nanos IS 'List cost in nanos of USD.';
COMMENT ON COLUMN tollgate.reservation.billed_nanos IS 'Billed cost in nanos of the currency.';
COMMENT ON COLUMN tollgate.reservation.state IS 'pending: sent, not answered. unknown: nobody can tell whether there is a job. confirmed: a job that has not ended. posted: owed for good. voided: not owed.';
COMMENT ON COLUMN tollgate.reservation.gate IS 'The gate that reserved it: gate:<this> in the table lease.';
COMMENT ON COLUMN tollgate.reservation.prompt_sha256 IS 'What an unknown job is recognised by.';
COMMENT ON COLUMN tollgate.reservation.remix_of IS 'The job that this one is a remix of.';
COMMENT ON COLUMN tollgate.reservation.idempotency_key IS 'The Idempotency-Key of the request, if it had one.';
COMMENT ON COLUMN tollgate.reservation.job IS 'The channel''s name for the job, once confirmed.';
COMMENT ON COLUMN tollgate.reservation.place IS 'The job''s place in the key''s list: counts up in the order of confirmation.';
COMMENT ON COLUMN tollgate.reservation.unknown_since_ms IS 'When it became unknown, if it did.';
COMMENT ON COLUMN tollgate.reservation.look_at_ms IS 'When a gate is to ask the channel how the job stands.';
COMMENT ON COLUMN tollgate.reservation.resolved_ms IS 'When it was posted or voided.';
COMMENT ON COLUMN tollgate.reservation.outcome IS 'Why it was resolved: completed, failed, refused and so on.';
COMMENT ON COLUMN tollgate.reservation.deleted IS 'The job was deleted at its channel; its charge stands.';
COMMENT ON COLUMN tollgate.reservation.last_operation IS 'The call that confirmed or resolved it, so that its repetition is known.';

-- Every index costs on every reservation: each of these is what one question needs.
CREATE UNIQUE INDEX reservation_job ON tollgate.reservation (job) WHERE job IS NOT NULL;
CREATE INDEX reservation_place ON tollgate.reservation (key, place) WHERE place IS NOT NULL;
-- The few that are not resolved: what is open, lost, unknown or due.
CREATE INDEX reservation_open ON tollgate.reservation (state, channel, look_at_ms)
    WHERE state IN ('pending', 'unknown', 'confirmed');
-- What a new counter is summed up from, and the bill of one key.
CREATE INDEX reservation_key ON tollgate.reservation (key, created_ms);
CREATE INDEX reservation_resolved ON tollgate.reservation (resolved_ms)
    WHERE resolved_ms IS NOT NULL;

-- Room in each page for new versions of its few, often changed rows.
CREATE TABLE tollgate.counter (
    scope           text   NOT NULL CHECK (scope IN ('key', 'group')),
    name            text   NOT NULL,
    measure         text   NOT NULL,
    window_name     text   NOT NULL,
    window_start_ms bigint NOT NULL,
    used            bigint NOT NULL CHECK (used >= 0),
    PRIMARY KEY (scope, name, measure, window_name)
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
COMMENT ON TABLE  tollgate.counter IS 'What limits count: the sum of one measure in the window that runs, for each limit that was ever configured.';
COMMENT ON COLUMN tollgate.counter.scope IS 'Whether name is a key or a group.';
COMMENT ON COLUMN tollgate.counter.measure IS 'requests, video_seconds, list_cost_usd, billed_cost or in_flight.';
COMMENT ON COLUMN tollgate.counter.window_name IS 'min, hour, day, month or total, in UTC.';
COMMENT ON COLUMN tollgate.counter.window_start_ms IS 'When the window began that the sum belongs to.';
COMMENT ON COLUMN tollgate.counter.used IS 'A count, seconds, or nanos.';

CREATE TABLE tollgate.account (
    key        text   PRIMARY KEY,
    last_place bigint NOT NULL
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
COMMENT ON TABLE  tollgate.account IS 'A row for each key that has had a job.';
COMMENT ON COLUMN tollgate.account.last_place IS 'The place of the job that was confirmed last.';

CREATE TABLE tollgate.idempotency (
    key             text   NOT NULL,
    idempotency_key text   NOT NULL,
    fingerprint     bytea  NOT NULL,
    reservation     uuid   NOT NULL,
    expires_ms      bigint NOT NULL,
    status          integer,
    body            bytea,
    PRIMARY KEY (key, idempotency_key)
);
CREATE INDEX idempotency_expires ON tollgate.idempotency (expires_ms);
COMMENT ON TABLE  tollgate.idempotency IS 'What each Idempotency-Key stands for.';
COMMENT ON COLUMN tollgate.idempotency.fingerprint IS 'Of what the request asks for: another fingerprint is another request.';
COMMENT ON COLUMN tollgate.idempotency.reservation IS 'The reservation that the first request made.';
COMMENT ON COLUMN tollgate.idempotency.expires_ms IS 'Until when it stands for that request, and in any case until that has an outcome.';
COMMENT ON COLUMN tollgate.idempotency.status IS 'What repetitions are answered with; null while the first has no outcome.';

CREATE TABLE tollgate.lease (
    name   text PRIMARY KEY,
    holder uuid NOT NULL,
    until  timestamptz NOT NULL
) WITH (fillfactor = 40);
COMMENT ON TABLE  tollgate.lease IS 'Which gate does what is done by one, and which gates live (gate:<id>), by this database''s clock.';

CREATE TABLE tollgate.total (
    day          date   NOT NULL,
    key          text   NOT NULL,
    group_name   text   NOT NULL,
    currency     text   NOT NULL,
    channel      text   NOT NULL,
    model        text   NOT NULL,
    size         text   NOT NULL,
    jobs         bigint NOT NULL,
    seconds      bigint NOT NULL,
    list_nanos   numeric(40) NOT NULL,
    billed_nanos numeric(40) NOT NULL,
    PRIMARY KEY (key, day, group_name, currency, channel, model, size)
);
COMMENT ON TABLE  tollgate.total IS 'Sums of the posted reservations that were pruned. Part of the view bill.';
COMMENT ON COLUMN tollgate.total.day IS 'The day of the reservation, UTC.';

-- When the window began that holds a moment. tollgate::policy::Window::start says the same.
CREATE FUNCTION tollgate.window_start(window_name text, at_ms bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE window_name
        WHEN 'min'   THEN at_ms - at_ms % 60000
        WHEN 'hour'  THEN at_ms - at_ms % 3600000
        WHEN 'day'   THEN at_ms - at_ms % 86400000
        WHEN 'month' THEN extract(epoch FROM
            date_trunc('month', to_timestamp(at_ms / 1000) AT TIME ZONE 'UTC'))::bigint * 1000
        ELSE 0
    END
$$;

CREATE FUNCTION tollgate.day_of(at_ms bigint) RETURNS date
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT (to_timestamp(at_ms / 1000) AT TIME ZONE 'UTC')::date $$;

CREATE VIEW tollgate.bill AS
SELECT day, key, group_name, currency, channel, model, size,
       sum(jobs)::bigint                              AS jobs,
       sum(seconds)::bigint                           AS video_seconds,
       (sum(list_nanos) * 0.000000001)::numeric(40, 9)        AS list_cost_usd,
       (sum(billed_nanos) * 0.000000001)::numeric(40, 9)      AS billed_cost,
       sum(open_jobs)::bigint                         AS open_jobs,
       sum(open_seconds)::bigint                      AS open_video_seconds,
       (sum(open_list_nanos) * 0.000000001)::numeric(40, 9)   AS open_list_cost_usd,
       (sum(open_billed_nanos) * 0.000000001)::numeric(40, 9) AS open_billed_cost
FROM (
    SELECT tollgate.day_of(created_ms) AS day, key, group_name, currency, channel, model, size,
           1 AS jobs, seconds, list_nanos::numeric AS list_nanos, billed_nanos::numeric AS billed_nanos,
           0 AS open_jobs, 0 AS open_seconds, 0::numeric AS open_list_nanos, 0::numeric AS open_billed_nanos
    FROM tollgate.reservation WHERE state = 'posted'
    UNION ALL
    SELECT tollgate.day_of(created_ms), key, group_name, currency, channel, model, size,
           0, 0, 0, 0, 1, seconds, list_nanos, billed_nanos
    FROM tollgate.reservation WHERE state IN ('pending', 'unknown', 'confirmed')
    UNION ALL
    SELECT day, key, group_name, currency, channel, model, size,
           jobs, seconds, list_nanos, billed_nanos, 0, 0, 0, 0
    FROM tollgate.total
) AS charged
GROUP BY day, key, group_name, currency, channel, model, size;
COMMENT ON VIEW tollgate.bill IS 'What each key owes by the day (UTC) on which it was reserved: SELECT * FROM tollgate.bill WHERE key = ... AND day >= .... The columns open_* are what may still be added.';

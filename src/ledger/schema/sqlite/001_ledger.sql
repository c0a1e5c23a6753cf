-- Version 1 of the ledger in SQLite. The version of a database is its `user_version`.
--
-- Columns whose name ends in _ms hold milliseconds since 1970-01-01T00:00:00Z, those that
-- end in _nanos whole billionths of a currency unit. Read with any SQLite client at any
-- time; write only while no gate runs.

-- One row for each charge, from its reservation to its resolution and until it is pruned.
CREATE TABLE reservation (
    number           INTEGER PRIMARY KEY, -- the order of reservation
    id               BLOB NOT NULL,       -- 16 bytes: its name in logs, by hex(id)
    created_ms       INTEGER NOT NULL,    -- when it was reserved
    key              TEXT NOT NULL,       -- name of the client key that pays
    "group"          TEXT NOT NULL,       -- the key's group at that time
    currency         TEXT NOT NULL,       -- the group's currency
    multiplier       INTEGER NOT NULL,    -- the group's multiplier, in thousandths
    channel          TEXT NOT NULL,       -- upstream account that makes the job
    model            TEXT NOT NULL,
    size             TEXT NOT NULL,       -- width x height, such as 1280x720
    seconds          INTEGER NOT NULL,    -- of video
    list_nanos       INTEGER NOT NULL,    -- list cost, USD
    billed_nanos     INTEGER NOT NULL,    -- billed cost, in the currency
    state            TEXT NOT NULL,       -- pending, unknown, confirmed, posted or voided
    gate             INTEGER NOT NULL,    -- the run of the gate that made it, at random
    prompt_sha256    BLOB NOT NULL,       -- what its job is recognised by
    remix_of         TEXT,                -- the job that it is a remix of
    idempotency_key  TEXT,                -- the one that stands for it
    look_at_ms       INTEGER NOT NULL,    -- when the channel is next asked about its job
    job              TEXT,                -- the channel's name for its job; null until confirmed
    place            INTEGER,             -- the order of confirmation; null until confirmed
    confirmed_ms     INTEGER,             -- when the job was confirmed
    unknown_since_ms INTEGER,             -- when its outcome was found to be unknown
    resolved_ms      INTEGER,             -- when it was posted or voided
    outcome          TEXT,                -- how it ended, such as completed or refused
    deleted          INTEGER NOT NULL DEFAULT 0 -- 1 once the job was deleted at its channel
) STRICT;

-- Names are time-ordered or random: either way this is what makes a repetition harmless.
CREATE UNIQUE INDEX reservation_id ON reservation (id);
CREATE UNIQUE INDEX reservation_job ON reservation (job) WHERE job IS NOT NULL;
-- Pages of a key's jobs.
CREATE INDEX reservation_place ON reservation (key, place) WHERE place IS NOT NULL;
-- The bill of a key, the first sum of a new limit, and what is old enough to be pruned.
CREATE INDEX reservation_key ON reservation (key, created_ms);
-- What is not resolved: jobs that are due, what waits for its job, and all of it when a
-- gate starts.
CREATE INDEX reservation_open ON reservation (channel, look_at_ms) WHERE resolved_ms IS NULL;

-- Which keys have ever paid in which groups.
CREATE TABLE payer (
    "group" TEXT NOT NULL,
    key     TEXT NOT NULL,
    PRIMARY KEY ("group", key)
) STRICT, WITHOUT ROWID;

-- What the limits are counted in. A row exists from the first time that a limit asks for it.
CREATE TABLE counter (
    scope        TEXT NOT NULL,    -- key or group
    name         TEXT NOT NULL,    -- of that key or group
    measure      TEXT NOT NULL,    -- requests, video_seconds, list_cost_usd, billed_cost or in_flight
    window       TEXT NOT NULL,    -- min, hour, day, month or total
    window_start INTEGER NOT NULL, -- when the window began that the sum belongs to, in seconds since the epoch
    used         INTEGER NOT NULL, -- what is reserved or posted: a count, seconds, or nanos
    PRIMARY KEY (scope, name, measure, window)
) STRICT, WITHOUT ROWID;

-- What stands behind the header Idempotency-Key.
CREATE TABLE idempotency (
    key             TEXT NOT NULL,    -- name of the client key
    idempotency_key TEXT NOT NULL,    -- the header's value
    fingerprint     BLOB NOT NULL,    -- of what the request asked for
    reservation     BLOB NOT NULL,    -- id of the reservation that it stands for
    expires_ms      INTEGER NOT NULL, -- until when it does, and in any case until there is an outcome
    status          INTEGER,          -- status of the first answer; null until there is one
    body            BLOB,             -- body of the first answer
    UNIQUE (key, idempotency_key)
) STRICT;
CREATE INDEX idempotency_expires ON idempotency (expires_ms);

-- What pruned reservations were posted for: they stay on the bill.
CREATE TABLE total (
    day           TEXT NOT NULL,    -- UTC, of the reservation: 2026-01-31
    key           TEXT NOT NULL,
    "group"       TEXT NOT NULL,
    currency      TEXT NOT NULL,
    channel       TEXT NOT NULL,
    model         TEXT NOT NULL,
    size          TEXT NOT NULL,
    jobs          INTEGER NOT NULL,
    video_seconds INTEGER NOT NULL,
    list_nanos    INTEGER NOT NULL,
    billed_nanos  INTEGER NOT NULL,
    PRIMARY KEY (key, day, "group", currency, channel, model, size)
) STRICT, WITHOUT ROWID;

-- What is not pruned, summed up: the first part of the bill.
CREATE VIEW recent AS
SELECT
    date(created_ms / 1000, 'unixepoch') AS day, key, "group", currency, channel, model, size,
    sum(state = 'posted') AS jobs,
    sum(iif(state = 'posted', seconds, 0)) AS video_seconds,
    sum(iif(state = 'posted', list_nanos, 0)) AS list_nanos,
    sum(iif(state = 'posted', billed_nanos, 0)) AS billed_nanos,
    sum(state <> 'posted') AS open_jobs,
    sum(iif(state <> 'posted', seconds, 0)) AS open_video_seconds,
    sum(iif(state <> 'posted', list_nanos, 0)) AS open_list_nanos,
    sum(iif(state <> 'posted', billed_nanos, 0)) AS open_billed_nanos
FROM reservation
WHERE state <> 'voided'
GROUP BY 1, 2, 3, 4, 5, 6, 7;

-- The bill in whole nanos, each line once. The two parts are joined, and not summed up once
-- more, so that SQLite looks up the key that is asked for in both.
CREATE VIEW bill_nanos AS
SELECT
    r.day, r.key, r."group", r.currency, r.channel, r.model, r.size,
    r.jobs + ifnull(t.jobs, 0) AS jobs,
    r.video_seconds + ifnull(t.video_seconds, 0) AS video_seconds,
    r.list_nanos + ifnull(t.list_nanos, 0) AS list_nanos,
    r.billed_nanos + ifnull(t.billed_nanos, 0) AS billed_nanos,
    r.open_jobs, r.open_video_seconds, r.open_list_nanos, r.open_billed_nanos
FROM recent AS r
LEFT JOIN total AS t USING (day, key, "group", currency, channel, model, size)
UNION ALL
SELECT
    day, key, "group", currency, channel, model, size,
    jobs, video_seconds, list_nanos, billed_nanos, 0, 0, 0, 0
FROM total AS t
WHERE NOT EXISTS (
    SELECT 1
    FROM reservation AS r
    WHERE r.key = t.key
        AND r.created_ms >= 1000 * strftime('%s', t.day)
        AND r.created_ms < 1000 * (strftime('%s', t.day) + 86400)
        AND r.state <> 'voided'
        AND r."group" = t."group" AND r.currency = t.currency
        AND r.channel = t.channel AND r.model = t.model AND r.size = t.size
);

-- The bill: what is owed, and what is not resolved yet. For a key and a month:
--   SELECT * FROM bill WHERE key = 'studio-a' AND day >= '2026-01-01' AND day < '2026-02-01';
-- Costs are exact: whole nanos to add up, decimals to read.
CREATE VIEW bill AS
SELECT
    day, key, "group", currency, channel, model, size, jobs, video_seconds,
    list_nanos,
    printf('%d.%09d', list_nanos / 1000000000, list_nanos % 1000000000) AS list_cost_usd,
    billed_nanos,
    printf('%d.%09d', billed_nanos / 1000000000, billed_nanos % 1000000000) AS billed_cost,
    open_jobs, open_video_seconds,
    open_list_nanos,
    printf('%d.%09d', open_list_nanos / 1000000000, open_list_nanos % 1000000000) AS open_list_cost_usd,
    open_billed_nanos,
    printf('%d.%09d', open_billed_nanos / 1000000000, open_billed_nanos % 1000000000) AS open_billed_cost
FROM bill_nanos;

-- Version 7: a bill whose months do not change once they are over, adjustments of it, and which
-- configurations gates have loaded.

-- What pruned reservations were posted for, by the day on which they were: what is left of them in
-- the view bill_line. (The table total has them by the day of their reservation.)
CREATE TABLE posted_total (
    day                    TEXT NOT NULL,    -- UTC, of the posting: 2026-01-31
    key                    TEXT NOT NULL,
    "group"                TEXT NOT NULL,
    currency               TEXT NOT NULL,
    multiplier_thousandths INTEGER NOT NULL, -- -1 where an earlier version has pruned them
    model                  TEXT NOT NULL,
    size                   TEXT NOT NULL,
    list_price_nanos       INTEGER NOT NULL, -- of one second, USD; -1 as above
    jobs                   INTEGER NOT NULL,
    video_seconds          INTEGER NOT NULL,
    list_units             INTEGER NOT NULL,
    list_fraction          INTEGER NOT NULL CHECK (list_fraction BETWEEN 0 AND 999999999),
    billed_units           INTEGER NOT NULL,
    billed_fraction        INTEGER NOT NULL CHECK (billed_fraction BETWEEN 0 AND 999999999),
    PRIMARY KEY (key, day, "group", currency, multiplier_thousandths, model, size, list_price_nanos)
) STRICT, WITHOUT ROWID;

-- Of what was pruned before, nobody knows more than the day of the reservation.
INSERT INTO posted_total
SELECT day, key, "group", currency, -1, model, size, -1, sum(jobs), sum(video_seconds),
    sum(list_units) + sum(list_fraction) / 1000000000, sum(list_fraction) % 1000000000,
    sum(billed_units) + sum(billed_fraction) / 1000000000, sum(billed_fraction) % 1000000000
FROM total
GROUP BY day, key, "group", currency, model, size;

-- What operators have added to the bill. Nothing here is ever changed or pruned.
CREATE TABLE adjustment (
    number        INTEGER PRIMARY KEY, -- the order in which they were recorded
    id            TEXT NOT NULL UNIQUE,
    kind          TEXT NOT NULL CHECK (kind IN ('void', 'credit', 'debit')),
    at_ms         INTEGER NOT NULL,    -- when it was recorded: the day and month that it is billed in
    made_by       TEXT NOT NULL,       -- user and host
    reason        TEXT NOT NULL,
    key           TEXT NOT NULL,
    "group"       TEXT NOT NULL,
    currency      TEXT NOT NULL,
    -- What it adds to the bill: voids and credits add less than nothing.
    billed_nanos  INTEGER NOT NULL,
    list_nanos    INTEGER NOT NULL,    -- USD
    jobs          INTEGER NOT NULL,
    video_seconds INTEGER NOT NULL,
    -- Of a void: the reservation that is not owed any more.
    reservation   BLOB,
    reserved_ms   INTEGER,             -- when it was reserved: which windows of limits have room again
    job           TEXT,
    channel       TEXT,
    model         TEXT,
    size          TEXT,
    multiplier    INTEGER,             -- in thousandths
    CHECK ((kind = 'void') = (reservation IS NOT NULL))
) STRICT;
-- A reservation is voided once.
CREATE UNIQUE INDEX adjustment_reservation ON adjustment (reservation) WHERE reservation IS NOT NULL;
CREATE TRIGGER adjustment_is_not_changed BEFORE UPDATE ON adjustment
BEGIN SELECT RAISE(ABORT, 'adjustments are never changed: record another one'); END;
CREATE TRIGGER adjustment_is_not_deleted BEFORE DELETE ON adjustment
BEGIN SELECT RAISE(ABORT, 'adjustments are never deleted: record another one'); END;
-- REPLACE deletes without the trigger above. (A number that SQLite is yet to choose is below 0.)
CREATE TRIGGER adjustment_is_not_replaced BEFORE INSERT ON adjustment
WHEN EXISTS (SELECT 1 FROM adjustment WHERE id = NEW.id)
    OR EXISTS (SELECT 1 FROM adjustment WHERE reservation = NEW.reservation)
    OR NEW.number > 0 AND EXISTS (SELECT 1 FROM adjustment WHERE number = NEW.number)
BEGIN SELECT RAISE(ABORT, 'adjustments are never replaced: record another one'); END;

-- Up to which number the gate has given back to its limits what adjustments void. One row.
CREATE TABLE adjustment_counted (number INTEGER NOT NULL) STRICT;
INSERT INTO adjustment_counted VALUES (0);

-- Which configurations gates have loaded. Nothing here is ever changed or pruned.
CREATE TABLE reload (
    number      INTEGER PRIMARY KEY,
    id          BLOB NOT NULL UNIQUE, -- random, so that a repeated write is known
    at_ms       INTEGER NOT NULL,
    event       TEXT NOT NULL CHECK (event IN ('start', 'reload')),
    host        TEXT NOT NULL,        -- empty where it is not known
    process     INTEGER NOT NULL,     -- id of the gate's process there
    version     TEXT NOT NULL,        -- of the gate
    hash        TEXT NOT NULL,        -- of the configuration, as the log has it
    hash_before TEXT,                 -- of the one before it; null at the start
    changes     TEXT NOT NULL         -- as the log has them
) STRICT;
CREATE TRIGGER reload_is_not_changed BEFORE UPDATE ON reload
BEGIN SELECT RAISE(ABORT, 'reloads are never changed'); END;
CREATE TRIGGER reload_is_not_deleted BEFORE DELETE ON reload
BEGIN SELECT RAISE(ABORT, 'reloads are never deleted'); END;
CREATE TRIGGER reload_is_not_replaced BEFORE INSERT ON reload
WHEN EXISTS (SELECT 1 FROM reload WHERE id = NEW.id)
    OR NEW.number > 0 AND EXISTS (SELECT 1 FROM reload WHERE number = NEW.number)
BEGIN SELECT RAISE(ABORT, 'reloads are never replaced'); END;

-- The bill by lines, each dated by when it fell: a charge by when it was posted, an adjustment by
-- when it was recorded. So a month that is over gets no more lines. For a key and a month:
--   SELECT * FROM bill_line WHERE key = 'studio-a' AND day >= '2026-01-01' AND day < '2026-02-01';
-- Of charges that were pruned, those that are alike in all that a line says are one line for each
-- day. To add up lines however large they are, add up *_units and *_fraction.
CREATE VIEW bill_line AS
SELECT
    'charge' AS kind, date(resolved_ms / 1000, 'unixepoch') AS day, resolved_ms AS at_ms,
    key, "group", currency, multiplier AS multiplier_thousandths, model, size,
    iif(seconds > 0 AND list_nanos % seconds = 0, list_nanos / seconds, NULL) AS list_price_nanos,
    1 AS jobs, seconds AS video_seconds,
    list_nanos,
    printf('%d.%09d', list_nanos / 1000000000, list_nanos % 1000000000) AS list_cost_usd,
    billed_nanos,
    printf('%d.%09d', billed_nanos / 1000000000, billed_nanos % 1000000000) AS billed_cost,
    list_nanos / 1000000000 AS list_units, list_nanos % 1000000000 AS list_fraction,
    billed_nanos / 1000000000 AS billed_units, billed_nanos % 1000000000 AS billed_fraction,
    lower(hex(id)) AS reservation, job, NULL AS adjustment, NULL AS reason, NULL AS made_by
FROM reservation WHERE state = 'posted'
UNION ALL
SELECT
    'charge', day, 1000 * strftime('%s', day),
    key, "group", currency, nullif(multiplier_thousandths, -1), model, size,
    nullif(list_price_nanos, -1), jobs, video_seconds,
    iif(list_units < 9223372036 OR list_units = 9223372036 AND list_fraction <= 854775807,
        list_units * 1000000000 + list_fraction, printf('%d%09d', list_units, list_fraction)),
    printf('%d.%09d', list_units, list_fraction),
    iif(billed_units < 9223372036 OR billed_units = 9223372036 AND billed_fraction <= 854775807,
        billed_units * 1000000000 + billed_fraction,
        printf('%d%09d', billed_units, billed_fraction)),
    printf('%d.%09d', billed_units, billed_fraction),
    list_units, list_fraction, billed_units, billed_fraction, NULL, NULL, NULL, NULL, NULL
FROM posted_total
UNION ALL
SELECT
    kind, date(at_ms / 1000, 'unixepoch'), at_ms,
    key, "group", currency, multiplier, model, size,
    iif(video_seconds < 0 AND list_nanos % video_seconds = 0, list_nanos / video_seconds, NULL),
    jobs, video_seconds,
    list_nanos,
    printf('%s%d.%09d', iif(list_nanos < 0, '-', ''),
        abs(list_nanos) / 1000000000, abs(list_nanos) % 1000000000),
    billed_nanos,
    printf('%s%d.%09d', iif(billed_nanos < 0, '-', ''),
        abs(billed_nanos) / 1000000000, abs(billed_nanos) % 1000000000),
    list_nanos / 1000000000, list_nanos % 1000000000,
    billed_nanos / 1000000000, billed_nanos % 1000000000,
    lower(hex(reservation)), job, id, reason, made_by
FROM adjustment;

-- Version 3: sums of costs that have more than 63 bits.
--
-- A cost is at most 9,223,372,036.854775807 units of its currency, which is what an INTEGER
-- holds in nanos. The sum of many may be more. So each sum of costs stands in two columns:
-- *_units, whole units, and *_fraction, the nanos that are left over, less than a unit.
-- The columns *_nanos of the bill and its totals are as they were while a sum fits: INTEGER,
-- whole nanos. A larger one is TEXT, all its digits: exact to read, but the sum of such is
-- floating point. To add up lines of the bill however large they are, add up *_units and
-- *_fraction.

DROP VIEW bill;
DROP VIEW bill_nanos;
DROP VIEW recent;

ALTER TABLE total RENAME TO total_of_version_2;

-- What pruned reservations were posted for: they stay on the bill.
CREATE TABLE total (
    day             TEXT NOT NULL,    -- UTC, of the reservation: 2026-01-31
    key             TEXT NOT NULL,
    "group"         TEXT NOT NULL,
    currency        TEXT NOT NULL,
    channel         TEXT NOT NULL,
    model           TEXT NOT NULL,
    size            TEXT NOT NULL,
    jobs            INTEGER NOT NULL,
    video_seconds   INTEGER NOT NULL,
    list_units      INTEGER NOT NULL,
    list_fraction   INTEGER NOT NULL CHECK (list_fraction BETWEEN 0 AND 999999999),
    billed_units    INTEGER NOT NULL,
    billed_fraction INTEGER NOT NULL CHECK (billed_fraction BETWEEN 0 AND 999999999),
    list_nanos      ANY AS (iif(
        list_units < 9223372036 OR list_units = 9223372036 AND list_fraction <= 854775807,
        list_units * 1000000000 + list_fraction, printf('%d%09d', list_units, list_fraction))),
    billed_nanos    ANY AS (iif(
        billed_units < 9223372036 OR billed_units = 9223372036 AND billed_fraction <= 854775807,
        billed_units * 1000000000 + billed_fraction,
        printf('%d%09d', billed_units, billed_fraction))),
    PRIMARY KEY (key, day, "group", currency, channel, model, size)
) STRICT, WITHOUT ROWID;

INSERT INTO total
SELECT day, key, "group", currency, channel, model, size, jobs, video_seconds,
    list_nanos / 1000000000, list_nanos % 1000000000,
    billed_nanos / 1000000000, billed_nanos % 1000000000
FROM total_of_version_2;
DROP TABLE total_of_version_2;

-- What is not pruned, summed up: the first part of the bill. Here *_fraction may be more than
-- a unit.
CREATE VIEW recent AS
SELECT
    date(created_ms / 1000, 'unixepoch') AS day, key, "group", currency, channel, model, size,
    sum(state = 'posted') AS jobs,
    sum(iif(state = 'posted', seconds, 0)) AS video_seconds,
    sum(iif(state = 'posted', list_nanos / 1000000000, 0)) AS list_units,
    sum(iif(state = 'posted', list_nanos % 1000000000, 0)) AS list_fraction,
    sum(iif(state = 'posted', billed_nanos / 1000000000, 0)) AS billed_units,
    sum(iif(state = 'posted', billed_nanos % 1000000000, 0)) AS billed_fraction,
    sum(state <> 'posted') AS open_jobs,
    sum(iif(state <> 'posted', seconds, 0)) AS open_video_seconds,
    sum(iif(state <> 'posted', list_nanos / 1000000000, 0)) AS open_list_units,
    sum(iif(state <> 'posted', list_nanos % 1000000000, 0)) AS open_list_fraction,
    sum(iif(state <> 'posted', billed_nanos / 1000000000, 0)) AS open_billed_units,
    sum(iif(state <> 'posted', billed_nanos % 1000000000, 0)) AS open_billed_fraction
FROM reservation
WHERE state <> 'voided'
GROUP BY 1, 2, 3, 4, 5, 6, 7;

-- The bill, each line once. The two parts are joined, and not summed up once more, so that
-- SQLite looks up the key that is asked for in both. Here *_fraction may be more than a unit.
CREATE VIEW bill_parts AS
SELECT
    r.day, r.key, r."group", r.currency, r.channel, r.model, r.size,
    r.jobs + ifnull(t.jobs, 0) AS jobs,
    r.video_seconds + ifnull(t.video_seconds, 0) AS video_seconds,
    r.list_units + ifnull(t.list_units, 0) AS list_units,
    r.list_fraction + ifnull(t.list_fraction, 0) AS list_fraction,
    r.billed_units + ifnull(t.billed_units, 0) AS billed_units,
    r.billed_fraction + ifnull(t.billed_fraction, 0) AS billed_fraction,
    r.open_jobs, r.open_video_seconds, r.open_list_units, r.open_list_fraction,
    r.open_billed_units, r.open_billed_fraction
FROM recent AS r
LEFT JOIN total AS t USING (day, key, "group", currency, channel, model, size)
UNION ALL
SELECT
    day, key, "group", currency, channel, model, size, jobs, video_seconds,
    list_units, list_fraction, billed_units, billed_fraction, 0, 0, 0, 0, 0, 0
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

-- The bill by numbers.
CREATE VIEW bill_nanos AS
SELECT
    day, key, "group", currency, channel, model, size, jobs, video_seconds,
    iif(list_units < 9223372036 OR list_units = 9223372036 AND list_fraction <= 854775807,
        list_units * 1000000000 + list_fraction,
        printf('%d%09d', list_units, list_fraction)) AS list_nanos,
    iif(billed_units < 9223372036 OR billed_units = 9223372036 AND billed_fraction <= 854775807,
        billed_units * 1000000000 + billed_fraction,
        printf('%d%09d', billed_units, billed_fraction)) AS billed_nanos,
    open_jobs, open_video_seconds,
    iif(open_list_units < 9223372036
            OR open_list_units = 9223372036 AND open_list_fraction <= 854775807,
        open_list_units * 1000000000 + open_list_fraction,
        printf('%d%09d', open_list_units, open_list_fraction)) AS open_list_nanos,
    iif(open_billed_units < 9223372036
            OR open_billed_units = 9223372036 AND open_billed_fraction <= 854775807,
        open_billed_units * 1000000000 + open_billed_fraction,
        printf('%d%09d', open_billed_units, open_billed_fraction)) AS open_billed_nanos,
    list_units, list_fraction, billed_units, billed_fraction,
    open_list_units, open_list_fraction, open_billed_units, open_billed_fraction
FROM (
    SELECT
        day, key, "group", currency, channel, model, size, jobs, video_seconds,
        list_units + list_fraction / 1000000000 AS list_units,
        list_fraction % 1000000000 AS list_fraction,
        billed_units + billed_fraction / 1000000000 AS billed_units,
        billed_fraction % 1000000000 AS billed_fraction,
        open_jobs, open_video_seconds,
        open_list_units + open_list_fraction / 1000000000 AS open_list_units,
        open_list_fraction % 1000000000 AS open_list_fraction,
        open_billed_units + open_billed_fraction / 1000000000 AS open_billed_units,
        open_billed_fraction % 1000000000 AS open_billed_fraction
    FROM bill_parts
);

-- The bill: what is owed, and what is not resolved yet. For a key and a month:
--   SELECT * FROM bill WHERE key = 'studio-a' AND day >= '2026-01-01' AND day < '2026-02-01';
-- Costs are exact: numbers to add up, decimals to read.
CREATE VIEW bill AS
SELECT
    day, key, "group", currency, channel, model, size, jobs, video_seconds,
    list_nanos, printf('%d.%09d', list_units, list_fraction) AS list_cost_usd,
    billed_nanos, printf('%d.%09d', billed_units, billed_fraction) AS billed_cost,
    open_jobs, open_video_seconds,
    open_list_nanos, printf('%d.%09d', open_list_units, open_list_fraction) AS open_list_cost_usd,
    open_billed_nanos,
    printf('%d.%09d', open_billed_units, open_billed_fraction) AS open_billed_cost,
    list_units, list_fraction, billed_units, billed_fraction,
    open_list_units, open_list_fraction, open_billed_units, open_billed_fraction
FROM bill_nanos;

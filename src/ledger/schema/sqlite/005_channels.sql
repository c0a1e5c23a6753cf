-- Version 5: channels: their limits, what is paid to them, and which of them refused a create.

-- What the channel's account pays, in nanos of purchase_currency; null where the configuration
-- names no purchase price.
ALTER TABLE reservation ADD COLUMN purchase_nanos INTEGER;
ALTER TABLE reservation ADD COLUMN purchase_currency TEXT;
-- What purchase_nanos was computed by: a factor of the list cost, such as 0.85, or prices by
-- size, such as 1280x720=0.05.
ALTER TABLE reservation ADD COLUMN purchase_price TEXT;
-- The one of the channel's several addresses that has the job; null where it has one.
ALTER TABLE reservation ADD COLUMN address TEXT;
-- What the channel's clock showed when it was reserved, by the dates of its answers; null where
-- it had answered nothing yet.
ALTER TABLE reservation ADD COLUMN channel_clock_ms INTEGER;
-- The channels that refused it before, in order, each with the reason: a:429, b:connect.
ALTER TABLE reservation ADD COLUMN refused_by TEXT;

-- From here on the scope of a counter may be a channel, and its measure what is paid to that:
-- cost, in the currency of its purchase.

DROP VIEW bill;
DROP VIEW bill_nanos;
DROP VIEW bill_parts;
DROP VIEW recent;

ALTER TABLE total RENAME TO total_of_version_4;

-- What pruned reservations were posted for: they stay on the bill.
CREATE TABLE total (
    day               TEXT NOT NULL,    -- UTC, of the reservation: 2026-01-31
    key               TEXT NOT NULL,
    "group"           TEXT NOT NULL,
    currency          TEXT NOT NULL,
    channel           TEXT NOT NULL,
    model             TEXT NOT NULL,
    size              TEXT NOT NULL,
    purchase_currency TEXT NOT NULL,    -- empty where there was no purchase price
    jobs              INTEGER NOT NULL,
    video_seconds     INTEGER NOT NULL,
    list_units        INTEGER NOT NULL,
    list_fraction     INTEGER NOT NULL CHECK (list_fraction BETWEEN 0 AND 999999999),
    billed_units      INTEGER NOT NULL,
    billed_fraction   INTEGER NOT NULL CHECK (billed_fraction BETWEEN 0 AND 999999999),
    purchase_units    INTEGER NOT NULL,
    purchase_fraction INTEGER NOT NULL CHECK (purchase_fraction BETWEEN 0 AND 999999999),
    list_nanos        ANY AS (iif(
        list_units < 9223372036 OR list_units = 9223372036 AND list_fraction <= 854775807,
        list_units * 1000000000 + list_fraction, printf('%d%09d', list_units, list_fraction))),
    billed_nanos      ANY AS (iif(
        billed_units < 9223372036 OR billed_units = 9223372036 AND billed_fraction <= 854775807,
        billed_units * 1000000000 + billed_fraction,
        printf('%d%09d', billed_units, billed_fraction))),
    purchase_nanos    ANY AS (iif(
        purchase_units < 9223372036
            OR purchase_units = 9223372036 AND purchase_fraction <= 854775807,
        purchase_units * 1000000000 + purchase_fraction,
        printf('%d%09d', purchase_units, purchase_fraction))),
    PRIMARY KEY (key, day, "group", currency, channel, model, size, purchase_currency)
) STRICT, WITHOUT ROWID;

INSERT INTO total (day, key, "group", currency, channel, model, size, purchase_currency,
    jobs, video_seconds, list_units, list_fraction, billed_units, billed_fraction,
    purchase_units, purchase_fraction)
SELECT day, key, "group", currency, channel, model, size, '', jobs, video_seconds,
    list_units, list_fraction, billed_units, billed_fraction, 0, 0
FROM total_of_version_4;
DROP TABLE total_of_version_4;

-- What is not pruned, summed up: the first part of the bill. Here *_fraction may be more than
-- a unit.
CREATE VIEW recent AS
SELECT
    date(created_ms / 1000, 'unixepoch') AS day, key, "group", currency, channel, model, size,
    ifnull(purchase_currency, '') AS purchase_currency,
    sum(state = 'posted') AS jobs,
    sum(iif(state = 'posted', seconds, 0)) AS video_seconds,
    sum(iif(state = 'posted', list_nanos / 1000000000, 0)) AS list_units,
    sum(iif(state = 'posted', list_nanos % 1000000000, 0)) AS list_fraction,
    sum(iif(state = 'posted', billed_nanos / 1000000000, 0)) AS billed_units,
    sum(iif(state = 'posted', billed_nanos % 1000000000, 0)) AS billed_fraction,
    sum(iif(state = 'posted', ifnull(purchase_nanos, 0) / 1000000000, 0)) AS purchase_units,
    sum(iif(state = 'posted', ifnull(purchase_nanos, 0) % 1000000000, 0)) AS purchase_fraction,
    sum(state <> 'posted') AS open_jobs,
    sum(iif(state <> 'posted', seconds, 0)) AS open_video_seconds,
    sum(iif(state <> 'posted', list_nanos / 1000000000, 0)) AS open_list_units,
    sum(iif(state <> 'posted', list_nanos % 1000000000, 0)) AS open_list_fraction,
    sum(iif(state <> 'posted', billed_nanos / 1000000000, 0)) AS open_billed_units,
    sum(iif(state <> 'posted', billed_nanos % 1000000000, 0)) AS open_billed_fraction,
    sum(iif(state <> 'posted', ifnull(purchase_nanos, 0) / 1000000000, 0)) AS open_purchase_units,
    sum(iif(state <> 'posted', ifnull(purchase_nanos, 0) % 1000000000, 0)) AS open_purchase_fraction
FROM reservation
WHERE state <> 'voided'
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8;

-- The bill, each line once. The two parts are joined, and not summed up once more, so that
-- SQLite looks up the key that is asked for in both. Here *_fraction may be more than a unit.
CREATE VIEW bill_parts AS
SELECT
    r.day, r.key, r."group", r.currency, r.channel, r.model, r.size, r.purchase_currency,
    r.jobs + ifnull(t.jobs, 0) AS jobs,
    r.video_seconds + ifnull(t.video_seconds, 0) AS video_seconds,
    r.list_units + ifnull(t.list_units, 0) AS list_units,
    r.list_fraction + ifnull(t.list_fraction, 0) AS list_fraction,
    r.billed_units + ifnull(t.billed_units, 0) AS billed_units,
    r.billed_fraction + ifnull(t.billed_fraction, 0) AS billed_fraction,
    r.purchase_units + ifnull(t.purchase_units, 0) AS purchase_units,
    r.purchase_fraction + ifnull(t.purchase_fraction, 0) AS purchase_fraction,
    r.open_jobs, r.open_video_seconds, r.open_list_units, r.open_list_fraction,
    r.open_billed_units, r.open_billed_fraction, r.open_purchase_units, r.open_purchase_fraction
FROM recent AS r
LEFT JOIN total AS t
    USING (day, key, "group", currency, channel, model, size, purchase_currency)
UNION ALL
SELECT
    day, key, "group", currency, channel, model, size, purchase_currency, jobs, video_seconds,
    list_units, list_fraction, billed_units, billed_fraction, purchase_units, purchase_fraction,
    0, 0, 0, 0, 0, 0, 0, 0
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
        AND ifnull(r.purchase_currency, '') = t.purchase_currency
);

-- The bill by numbers.
CREATE VIEW bill_nanos AS
SELECT
    day, key, "group", currency, channel, model, size, purchase_currency, jobs, video_seconds,
    iif(list_units < 9223372036 OR list_units = 9223372036 AND list_fraction <= 854775807,
        list_units * 1000000000 + list_fraction,
        printf('%d%09d', list_units, list_fraction)) AS list_nanos,
    iif(billed_units < 9223372036 OR billed_units = 9223372036 AND billed_fraction <= 854775807,
        billed_units * 1000000000 + billed_fraction,
        printf('%d%09d', billed_units, billed_fraction)) AS billed_nanos,
    iif(purchase_units < 9223372036
            OR purchase_units = 9223372036 AND purchase_fraction <= 854775807,
        purchase_units * 1000000000 + purchase_fraction,
        printf('%d%09d', purchase_units, purchase_fraction)) AS purchase_nanos,
    open_jobs, open_video_seconds,
    iif(open_list_units < 9223372036
            OR open_list_units = 9223372036 AND open_list_fraction <= 854775807,
        open_list_units * 1000000000 + open_list_fraction,
        printf('%d%09d', open_list_units, open_list_fraction)) AS open_list_nanos,
    iif(open_billed_units < 9223372036
            OR open_billed_units = 9223372036 AND open_billed_fraction <= 854775807,
        open_billed_units * 1000000000 + open_billed_fraction,
        printf('%d%09d', open_billed_units, open_billed_fraction)) AS open_billed_nanos,
    iif(open_purchase_units < 9223372036
            OR open_purchase_units = 9223372036 AND open_purchase_fraction <= 854775807,
        open_purchase_units * 1000000000 + open_purchase_fraction,
        printf('%d%09d', open_purchase_units, open_purchase_fraction)) AS open_purchase_nanos,
    list_units, list_fraction, billed_units, billed_fraction, purchase_units, purchase_fraction,
    open_list_units, open_list_fraction, open_billed_units, open_billed_fraction,
    open_purchase_units, open_purchase_fraction
FROM (
    SELECT
        day, key, "group", currency, channel, model, size, purchase_currency, jobs, video_seconds,
        list_units + list_fraction / 1000000000 AS list_units,
        list_fraction % 1000000000 AS list_fraction,
        billed_units + billed_fraction / 1000000000 AS billed_units,
        billed_fraction % 1000000000 AS billed_fraction,
        purchase_units + purchase_fraction / 1000000000 AS purchase_units,
        purchase_fraction % 1000000000 AS purchase_fraction,
        open_jobs, open_video_seconds,
        open_list_units + open_list_fraction / 1000000000 AS open_list_units,
        open_list_fraction % 1000000000 AS open_list_fraction,
        open_billed_units + open_billed_fraction / 1000000000 AS open_billed_units,
        open_billed_fraction % 1000000000 AS open_billed_fraction,
        open_purchase_units + open_purchase_fraction / 1000000000 AS open_purchase_units,
        open_purchase_fraction % 1000000000 AS open_purchase_fraction
    FROM bill_parts
);

-- The bill: what is owed, what its channel costs, and what is not resolved yet. For a key and a
-- month:
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
    open_list_units, open_list_fraction, open_billed_units, open_billed_fraction,
    purchase_currency,
    purchase_nanos, printf('%d.%09d', purchase_units, purchase_fraction) AS purchase_cost,
    open_purchase_nanos,
    printf('%d.%09d', open_purchase_units, open_purchase_fraction) AS open_purchase_cost,
    purchase_units, purchase_fraction, open_purchase_units, open_purchase_fraction
FROM bill_nanos;

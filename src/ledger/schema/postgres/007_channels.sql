-- Channels: their limits, what is paid to them, and which of them refused a create.

ALTER TABLE tollgate.reservation
    ADD COLUMN purchase_nanos    bigint CHECK (purchase_nanos >= 0),
    ADD COLUMN purchase_currency text,
    ADD COLUMN purchase_price    text,
    ADD COLUMN address           text,
    ADD COLUMN channel_clock_ms  bigint,
    ADD COLUMN refused_by        text;
COMMENT ON COLUMN tollgate.reservation.purchase_nanos IS 'What the channel''s account pays, in nanos of purchase_currency; null where the configuration names no purchase price.';
COMMENT ON COLUMN tollgate.reservation.purchase_price IS 'What purchase_nanos was computed by: a factor of the list cost, such as 0.85, or prices by size, such as 1280x720=0.05.';
COMMENT ON COLUMN tollgate.reservation.address IS 'The one of the channel''s several addresses that has the job; null where it has one.';
COMMENT ON COLUMN tollgate.reservation.channel_clock_ms IS 'What the channel''s clock showed when it was reserved, by the dates of its answers; null where it had answered nothing yet.';
COMMENT ON COLUMN tollgate.reservation.refused_by IS 'The channels that refused it before, in order, each with the reason: a:429, b:connect.';

-- Their names depend on what else there was when version 4 made them.
DO $$
DECLARE
    v_table regclass;
    v_name  name;
BEGIN
    FOR v_table, v_name IN
        SELECT conrelid, conname FROM pg_constraint
        WHERE conrelid IN ('tollgate.counter'::regclass, 'tollgate.counted'::regclass)
            AND contype = 'c' AND pg_get_constraintdef(oid) LIKE '%scope%'
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', v_table, v_name);
    END LOOP;
END
$$;
ALTER TABLE tollgate.counter
    ADD CONSTRAINT counter_scope CHECK (scope IN ('key', 'group', 'channel'));
ALTER TABLE tollgate.counted
    ADD CONSTRAINT counted_scope CHECK (scope IN ('key', 'group', 'channel'));
COMMENT ON COLUMN tollgate.counter.scope IS 'Whether name is a key, a group or a channel.';
COMMENT ON COLUMN tollgate.counter.measure IS 'requests, video_seconds, list_cost_usd, billed_cost, cost (what is paid to a channel) or in_flight.';
COMMENT ON COLUMN tollgate.counter.currency IS 'Of billed_cost and cost; empty for the others.';

ALTER TABLE tollgate.total
    ADD COLUMN purchase_currency text NOT NULL DEFAULT '',
    ADD COLUMN purchase_nanos numeric(40) NOT NULL DEFAULT 0;
ALTER TABLE tollgate.total DROP CONSTRAINT total_pkey,
    ADD PRIMARY KEY (key, day, group_name, currency, channel, model, size, purchase_currency);

-- Replaced, not dropped: what others were granted on it stays. New columns come last.
CREATE OR REPLACE VIEW tollgate.bill AS
SELECT day, key, group_name, currency, channel, model, size,
       sum(jobs)::bigint                              AS jobs,
       sum(seconds)::bigint                           AS video_seconds,
       (sum(list_nanos) * 0.000000001)::numeric(40, 9)        AS list_cost_usd,
       (sum(billed_nanos) * 0.000000001)::numeric(40, 9)      AS billed_cost,
       sum(open_jobs)::bigint                         AS open_jobs,
       sum(open_seconds)::bigint                      AS open_video_seconds,
       (sum(open_list_nanos) * 0.000000001)::numeric(40, 9)   AS open_list_cost_usd,
       (sum(open_billed_nanos) * 0.000000001)::numeric(40, 9) AS open_billed_cost,
       purchase_currency,
       (sum(purchase_nanos) * 0.000000001)::numeric(40, 9)      AS purchase_cost,
       (sum(open_purchase_nanos) * 0.000000001)::numeric(40, 9) AS open_purchase_cost
FROM (
    SELECT tollgate.day_of(created_ms) AS day, key, group_name, currency, channel, model, size,
           1 AS jobs, seconds, list_nanos::numeric AS list_nanos, billed_nanos::numeric AS billed_nanos,
           0 AS open_jobs, 0 AS open_seconds, 0::numeric AS open_list_nanos, 0::numeric AS open_billed_nanos,
           coalesce(purchase_currency, '') AS purchase_currency,
           coalesce(purchase_nanos, 0)::numeric AS purchase_nanos, 0::numeric AS open_purchase_nanos
    FROM tollgate.reservation WHERE state = 'posted'
    UNION ALL
    SELECT tollgate.day_of(created_ms), key, group_name, currency, channel, model, size,
           0, 0, 0, 0, 1, seconds, list_nanos, billed_nanos,
           coalesce(purchase_currency, ''), 0, coalesce(purchase_nanos, 0)
    FROM tollgate.reservation WHERE state IN ('pending', 'unknown', 'confirmed')
    UNION ALL
    SELECT day, key, group_name, currency, channel, model, size,
           jobs, seconds, list_nanos, billed_nanos, 0, 0, 0, 0, purchase_currency, purchase_nanos, 0
    FROM tollgate.total
) AS charged
GROUP BY day, key, group_name, currency, channel, model, size, purchase_currency;
COMMENT ON VIEW tollgate.bill IS 'What each key owes by the day (UTC) on which it was reserved, and what its channel costs: SELECT * FROM tollgate.bill WHERE key = ... AND day >= .... The columns open_* are what may still be added.';

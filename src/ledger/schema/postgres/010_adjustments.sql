-- A bill whose months do not change once they are over, adjustments of it, and which
-- configurations gates have loaded.

-- What a gate of an earlier version is pruning is in the totals below once it has committed.
LOCK TABLE tollgate.reservation, tollgate.total IN SHARE ROW EXCLUSIVE MODE;

CREATE TABLE tollgate.posted_total (
    day                    date   NOT NULL,
    key                    text   NOT NULL,
    group_name             text   NOT NULL,
    currency               text   NOT NULL,
    multiplier_thousandths bigint NOT NULL,
    model                  text   NOT NULL,
    size                   text   NOT NULL,
    list_price_nanos       bigint NOT NULL,
    jobs                   bigint NOT NULL,
    seconds                bigint NOT NULL,
    list_nanos             numeric(40) NOT NULL,
    billed_nanos           numeric(40) NOT NULL,
    PRIMARY KEY (key, day, group_name, currency, multiplier_thousandths, model, size, list_price_nanos)
);
COMMENT ON TABLE  tollgate.posted_total IS 'Sums of the posted reservations that were pruned, by the day on which they were posted: what is left of them in the view bill_line. The table total has them by the day of their reservation.';
COMMENT ON COLUMN tollgate.posted_total.day IS 'The day of the posting, UTC.';
COMMENT ON COLUMN tollgate.posted_total.multiplier_thousandths IS '-1 where an earlier version has pruned them: then the day is that of the reservation.';
COMMENT ON COLUMN tollgate.posted_total.list_price_nanos IS 'List price of one second in nanos of USD; -1 where an earlier version has pruned them.';

-- Of what was pruned before, nobody knows more than the day of the reservation.
INSERT INTO tollgate.posted_total
SELECT day, key, group_name, currency, -1, model, size, -1,
       sum(jobs), sum(seconds), sum(list_nanos), sum(billed_nanos)
FROM tollgate.total
GROUP BY day, key, group_name, currency, model, size;

-- Whatever deletes reservations, what they were posted for stays on the bill: a gate of an earlier
-- version that waits for the lock above prunes as that version does, behind it.
CREATE FUNCTION tollgate.keep_posted() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO tollgate.posted_total AS t
    SELECT tollgate.day_of(resolved_ms), key, group_name, currency, multiplier_thousandths,
           model, size,
           CASE WHEN seconds > 0 AND mod(list_nanos, greatest(seconds, 1)) = 0
                THEN list_nanos / greatest(seconds, 1) ELSE -1 END,
           count(*), sum(seconds), sum(list_nanos), sum(billed_nanos)
    FROM gone WHERE state = 'posted'
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 ORDER BY 2, 1, 3, 4, 5, 6, 7, 8
    ON CONFLICT (key, day, group_name, currency, multiplier_thousandths, model, size,
                 list_price_nanos) DO UPDATE
        SET jobs = t.jobs + excluded.jobs, seconds = t.seconds + excluded.seconds,
            list_nanos = t.list_nanos + excluded.list_nanos,
            billed_nanos = t.billed_nanos + excluded.billed_nanos;
    RETURN NULL;
END
$$;
CREATE TRIGGER reservation_keeps_posted AFTER DELETE ON tollgate.reservation
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION tollgate.keep_posted();

CREATE TABLE tollgate.adjustment (
    number        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id            text   NOT NULL UNIQUE,
    kind          text   NOT NULL CHECK (kind IN ('void', 'credit', 'debit')),
    at_ms         bigint NOT NULL,
    made_by       text   NOT NULL,
    reason        text   NOT NULL,
    key           text   NOT NULL,
    group_name    text   NOT NULL,
    currency      text   NOT NULL,
    billed_nanos  bigint NOT NULL,
    list_nanos    bigint NOT NULL,
    jobs          bigint NOT NULL,
    seconds       bigint NOT NULL,
    reservation   uuid,
    reserved_ms   bigint,
    job           text,
    channel       text,
    model         text,
    size          text,
    multiplier_thousandths bigint,
    CHECK ((kind = 'void') = (reservation IS NOT NULL))
);
COMMENT ON TABLE  tollgate.adjustment IS 'What operators have added to the bill. Nothing here is ever changed or pruned.';
COMMENT ON COLUMN tollgate.adjustment.at_ms IS 'When it was recorded: the day and month that it is billed in.';
COMMENT ON COLUMN tollgate.adjustment.made_by IS 'User and host.';
COMMENT ON COLUMN tollgate.adjustment.billed_nanos IS 'What it adds to the bill, in nanos of the currency: voids and credits add less than nothing.';
COMMENT ON COLUMN tollgate.adjustment.list_nanos IS 'What it adds to the list cost, in nanos of USD.';
COMMENT ON COLUMN tollgate.adjustment.reservation IS 'The reservation that is not owed any more.';
COMMENT ON COLUMN tollgate.adjustment.reserved_ms IS 'When that was reserved: which windows of limits have room again.';
-- A reservation is voided once.
CREATE UNIQUE INDEX adjustment_reservation ON tollgate.adjustment (reservation)
    WHERE reservation IS NOT NULL;

CREATE TABLE tollgate.reload (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id          uuid   NOT NULL UNIQUE,
    at_ms       bigint NOT NULL,
    event       text   NOT NULL CHECK (event IN ('start', 'reload')),
    host        text   NOT NULL,
    process     bigint NOT NULL,
    version     text   NOT NULL,
    hash        text   NOT NULL,
    hash_before text,
    changes     text   NOT NULL
);
COMMENT ON TABLE  tollgate.reload IS 'Which configurations gates have loaded. Nothing here is ever changed or pruned.';
COMMENT ON COLUMN tollgate.reload.host IS 'Empty where it is not known.';
COMMENT ON COLUMN tollgate.reload.process IS 'The id of the gate''s process on its host.';
COMMENT ON COLUMN tollgate.reload.version IS 'Of the gate.';
COMMENT ON COLUMN tollgate.reload.hash IS 'Of the configuration, as the log has it.';
COMMENT ON COLUMN tollgate.reload.changes IS 'As the log has them.';

CREATE FUNCTION tollgate.refuse_change() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION 'rows of tollgate.% are never changed or deleted', TG_TABLE_NAME;
END
$$;
CREATE TRIGGER adjustment_is_not_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON tollgate.adjustment
    FOR EACH STATEMENT EXECUTE FUNCTION tollgate.refuse_change();
CREATE TRIGGER reload_is_not_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON tollgate.reload
    FOR EACH STATEMENT EXECUTE FUNCTION tollgate.refuse_change();

CREATE VIEW tollgate.bill_line AS
SELECT 'charge' AS kind, tollgate.day_of(resolved_ms) AS day, resolved_ms AS at_ms,
       key, group_name, currency, multiplier_thousandths, model, size,
       CASE WHEN seconds > 0 AND mod(list_nanos, greatest(seconds, 1)) = 0
            THEN list_nanos / greatest(seconds, 1) END AS list_price_nanos,
       1::bigint AS jobs, seconds AS video_seconds,
       (list_nanos * 0.000000001)::numeric(40, 9) AS list_cost_usd,
       (billed_nanos * 0.000000001)::numeric(40, 9) AS billed_cost,
       id AS reservation, job, NULL::text AS adjustment, NULL::text AS reason, NULL::text AS made_by
FROM tollgate.reservation WHERE state = 'posted'
UNION ALL
SELECT 'charge', day, (extract(epoch FROM day) * 1000)::bigint,
       key, group_name, currency, nullif(multiplier_thousandths, -1), model, size,
       nullif(list_price_nanos, -1), jobs, seconds,
       (list_nanos * 0.000000001)::numeric(40, 9), (billed_nanos * 0.000000001)::numeric(40, 9),
       NULL, NULL, NULL, NULL, NULL
FROM tollgate.posted_total
UNION ALL
SELECT kind, tollgate.day_of(at_ms), at_ms,
       key, group_name, currency, multiplier_thousandths, model, size,
       CASE WHEN seconds < 0 AND mod(list_nanos, least(seconds, -1)) = 0
            THEN list_nanos / least(seconds, -1) END,
       jobs, seconds,
       (list_nanos * 0.000000001)::numeric(40, 9), (billed_nanos * 0.000000001)::numeric(40, 9),
       reservation, job, id, reason, made_by
FROM tollgate.adjustment;
COMMENT ON VIEW tollgate.bill_line IS 'The bill by lines, each dated (UTC) by when it fell: a charge by when it was posted, an adjustment by when it was recorded. So a month that is over gets no more lines. Of charges that were pruned, those that are alike are one line for each day.';

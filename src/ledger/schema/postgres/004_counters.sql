-- A counter for each window, and for each currency.

ALTER TABLE tollgate.counter RENAME TO counter_of_version_3;
ALTER INDEX tollgate.counter_pkey RENAME TO counter_of_version_3_pkey;

-- Room in each page for new versions of its few, often changed rows. In the key, windows come
-- before what is counted in them: a decision finds the current ones among all that are kept.
CREATE TABLE tollgate.counter (
    scope           text   NOT NULL CHECK (scope IN ('key', 'group')),
    name            text   NOT NULL,
    window_start_ms bigint NOT NULL,
    window_name     text   NOT NULL,
    measure         text   NOT NULL,
    currency        text   NOT NULL,
    used            bigint NOT NULL CHECK (used >= 0),
    PRIMARY KEY (scope, name, window_start_ms, window_name, measure, currency)
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
COMMENT ON TABLE  tollgate.counter IS 'What limits count: the sum of one measure in one window. A reservation counts in the window that holds its created_ms. Rows are kept for an hour after their window.';
COMMENT ON COLUMN tollgate.counter.scope IS 'Whether name is a key or a group.';
COMMENT ON COLUMN tollgate.counter.window_start_ms IS 'When the window began.';
COMMENT ON COLUMN tollgate.counter.window_name IS 'min, hour, day, month or total, in UTC.';
COMMENT ON COLUMN tollgate.counter.measure IS 'requests, video_seconds, list_cost_usd, billed_cost or in_flight.';
COMMENT ON COLUMN tollgate.counter.currency IS 'Of billed_cost; empty for the others.';
COMMENT ON COLUMN tollgate.counter.used IS 'A count, seconds, or nanos.';

CREATE TABLE tollgate.counted (
    scope       text   NOT NULL CHECK (scope IN ('key', 'group')),
    name        text   NOT NULL,
    measure     text   NOT NULL,
    currency    text   NOT NULL,
    window_name text   NOT NULL,
    since_ms    bigint NOT NULL,
    PRIMARY KEY (scope, name, measure, currency, window_name)
);
COMMENT ON TABLE  tollgate.counted IS 'What is counted, from the first time that a limit asks for it.';
COMMENT ON COLUMN tollgate.counted.since_ms IS 'The start of the first window whose sum is known: of what has no counter there or later, nothing was taken.';

-- The totals go on. Others held the sum of one window, whichever came last by the clocks of
-- the gates, or of several currencies: these are summed up anew when a limit asks for them.
INSERT INTO tollgate.counted
SELECT scope, name, measure, '', window_name, 0
FROM tollgate.counter_of_version_3 WHERE window_name = 'total' AND measure <> 'billed_cost';
INSERT INTO tollgate.counter
SELECT scope, name, 0, window_name, measure, '', used
FROM tollgate.counter_of_version_3 WHERE window_name = 'total' AND measure <> 'billed_cost';
DROP TABLE tollgate.counter_of_version_3;

-- Version 4: a counter for each window, and for each currency.

ALTER TABLE counter RENAME TO counter_of_version_3;

-- What the limits count: the sums of windows that run, and of those that have ended within
-- the last hour.
CREATE TABLE counter (
    scope        TEXT NOT NULL,    -- key or group
    name         TEXT NOT NULL,    -- of that key or group
    measure      TEXT NOT NULL,    -- requests, video_seconds, list_cost_usd, billed_cost or in_flight
    currency     TEXT NOT NULL,    -- of billed_cost; empty for the others
    window       TEXT NOT NULL,    -- min, hour, day, month or total
    window_start INTEGER NOT NULL, -- when the window began, in seconds since the epoch
    used         INTEGER NOT NULL, -- what is reserved or posted: a count, seconds, or nanos
    PRIMARY KEY (scope, name, measure, currency, window, window_start)
) STRICT, WITHOUT ROWID;

-- What is counted, from the first time that a limit asks for it.
CREATE TABLE counted (
    scope    TEXT NOT NULL,
    name     TEXT NOT NULL,
    measure  TEXT NOT NULL,
    currency TEXT NOT NULL,
    window   TEXT NOT NULL,
    since    INTEGER NOT NULL, -- the first window whose sum is known, in seconds since the epoch
    PRIMARY KEY (scope, name, measure, currency, window)
) STRICT, WITHOUT ROWID;

-- The totals go on. Others held the sum of one window, whichever came last by the clock, or
-- of several currencies: these are summed up anew when a limit asks for them.
INSERT INTO counted
SELECT scope, name, measure, '', window, 0
FROM counter_of_version_3 WHERE window = 'total' AND measure <> 'billed_cost';
INSERT INTO counter
SELECT scope, name, measure, '', window, 0, used
FROM counter_of_version_3 WHERE window = 'total' AND measure <> 'billed_cost';
DROP TABLE counter_of_version_3;

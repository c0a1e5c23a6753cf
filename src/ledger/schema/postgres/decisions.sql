-- The decisions, each one call in one transaction of its own. Every upgrade of the schema
-- runs this file as a whole; what it changes needs a version of its own.
--
-- Locks are taken in this order, so that no two decisions wait for each other: the
-- reservation's row, the upstream id, the scopes (shared), new counters, counters, the
-- idempotency key's row, the account's row. Counters come in one order everywhere: key before
-- group before channel, then by name, measure, currency, window and its start. Those that are lacking are inserted
-- before any other is locked: who inserts waits for nobody but others who insert, in that
-- order, and who locks finds only what is committed or its own.
--
-- Their plans are made once for a session, and go by indexes, however few rows there were
-- when that was: planning would cost more than the rest.
--
-- A scope's lock is an advisory one of the transaction: decisions share it, and what begins
-- to keep counters, or forgets some, has it alone. So a decision either finds the new counter
-- or is in its first sum. Who has a scope alone waits for nothing else.

-- Those of earlier versions, which may have other parameters. Four are the tables' own.
DO $$
DECLARE
    v_function regprocedure;
BEGIN
    FOR v_function IN
        SELECT oid FROM pg_proc
        WHERE pronamespace = 'tollgate'::regnamespace
            AND proname NOT IN ('window_start', 'day_of', 'refuse_change', 'keep_posted')
    LOOP
        EXECUTE 'DROP FUNCTION ' || v_function;
    END LOOP;
END
$$;

CREATE FUNCTION tollgate.scope_lock(scope text, name text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT hashtextextended('tollgate ' || scope || ' ' || name, 0) $$;

-- What a charge takes from a limit of that measure.
CREATE FUNCTION tollgate.takes(
    measure text, seconds bigint, list_nanos bigint, billed_nanos bigint, purchase_nanos bigint)
RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE measure
        WHEN 'video_seconds' THEN seconds
        WHEN 'list_cost_usd' THEN list_nanos
        WHEN 'billed_cost'   THEN billed_nanos
        WHEN 'cost'          THEN coalesce(purchase_nanos, 0)
        ELSE 1
    END
$$;

-- The largest sum that is counted. What is beyond is not known, so a counter that has reached it
-- stays there, whatever is given back: it never counts less than there is.
CREATE FUNCTION tollgate.most_counted() RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT 9223372036854775807 $$;

CREATE FUNCTION tollgate.plus(used bigint, more bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN used > tollgate.most_counted() - more THEN tollgate.most_counted() ELSE used + more END
$$;

CREATE FUNCTION tollgate.minus(used bigint, less bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT CASE WHEN used = tollgate.most_counted() THEN used ELSE greatest(0, used - less) END $$;

-- When the windows began that hold a moment: min, hour, day, month.
CREATE FUNCTION tollgate.window_starts(at_ms bigint) RETURNS bigint[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT ARRAY[tollgate.window_start('min', at_ms), tollgate.window_start('hour', at_ms),
                 tollgate.window_start('day', at_ms), tollgate.window_start('month', at_ms), 0]
$$;

-- That of one of them.
CREATE FUNCTION tollgate.start_of(window_name text, starts bigint[]) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE window_name WHEN 'min' THEN starts[1] WHEN 'hour' THEN starts[2]
        WHEN 'day' THEN starts[3] WHEN 'month' THEN starts[4] ELSE 0 END
$$;

-- The currency that a charge has in a scope: of what is billed, or of what is paid to the channel.
CREATE FUNCTION tollgate.currency_of(scope text, currency text, purchase_currency text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT CASE scope WHEN 'channel' THEN coalesce(purchase_currency, '') ELSE currency END $$;

-- Shares the scopes of a key, a group and a channel.
CREATE FUNCTION tollgate.share_scopes(p_key text, p_group text, p_channel text) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(tollgate.scope_lock('key', p_key)),
            pg_advisory_xact_lock_shared(tollgate.scope_lock('group', p_group)),
            pg_advisory_xact_lock_shared(tollgate.scope_lock('channel', p_channel));
END
$$;

-- Locks the counters that a charge counts in, in the windows that began at p_starts, and
-- tells whether there are any. Their scopes are shared.
CREATE FUNCTION tollgate.lock_counters(
    p_key text, p_group text, p_currency text, p_channel text, p_purchase_currency text,
    p_starts bigint[])
RETURNS boolean
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM 1 FROM tollgate.counter
    WHERE (scope, name) IN (('key', p_key), ('group', p_group), ('channel', p_channel))
        AND window_start_ms = ANY (p_starts)
        AND window_start_ms = tollgate.start_of(window_name, p_starts)
        AND currency IN ('', tollgate.currency_of(scope, p_currency, p_purchase_currency))
    ORDER BY scope DESC, name, measure, currency, window_name, window_start_ms
    FOR UPDATE;
    RETURN FOUND;
END
$$;

-- Keeps the counters of one scope from the windows on that hold p_now, each with the sum of
-- what there is: of all windows of which none was kept.
CREATE FUNCTION tollgate.track(
    p_scope text, p_name text, p_measures text[], p_currencies text[], p_windows text[], p_now bigint)
RETURNS void
LANGUAGE plpgsql SET lock_timeout = '4s'
AS $$
DECLARE
    v_measure  text;
    v_currency text;
    v_window   text;
    v_start    bigint;
    v_since    bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(tollgate.scope_lock(p_scope, p_name));
    FOR v_measure, v_currency, v_window IN
        SELECT DISTINCT m, c, w FROM unnest(p_measures, p_currencies, p_windows) AS l (m, c, w)
    LOOP
        v_start := tollgate.window_start(v_window, p_now);
        SELECT since_ms INTO v_since FROM tollgate.counted
        WHERE scope = p_scope AND name = p_name AND measure = v_measure
            AND currency = v_currency AND window_name = v_window;
        CONTINUE WHEN v_since <= v_start;
        -- One statement, so that both are of one moment: pruning moves rows from one to the
        -- other. The totals are by day, and nothing is pruned within the hour. What was voided after
        -- it was posted counts for its channel alone.
        INSERT INTO tollgate.counter
        SELECT p_scope, p_name, s.start, v_window, v_measure, v_currency,
               greatest(0, least(sum(s.used), tollgate.most_counted()))::bigint
        FROM (
            SELECT tollgate.window_start(v_window, created_ms) AS start,
                   tollgate.takes(v_measure, seconds, list_nanos, billed_nanos, purchase_nanos)::numeric
                       AS used
            FROM tollgate.reservation
            WHERE (p_scope <> 'key' OR key = p_name) AND (p_scope <> 'group' OR group_name = p_name)
              AND (p_scope <> 'channel' OR channel = p_name)
              AND created_ms >= v_start AND (v_since IS NULL OR created_ms < v_since)
              AND v_currency IN ('', tollgate.currency_of(p_scope, currency, purchase_currency))
              AND (state IN ('pending', 'unknown', 'confirmed')
                   OR state = 'posted' AND v_measure <> 'in_flight')
            UNION ALL
            SELECT tollgate.window_start(v_window, (extract(epoch FROM day) * 1000)::bigint),
                   CASE v_measure
                       WHEN 'requests' THEN jobs WHEN 'video_seconds' THEN seconds
                       WHEN 'list_cost_usd' THEN list_nanos WHEN 'billed_cost' THEN billed_nanos
                       WHEN 'cost' THEN purchase_nanos
                       ELSE 0 END
            FROM tollgate.total
            WHERE (p_scope <> 'key' OR key = p_name) AND (p_scope <> 'group' OR group_name = p_name)
              AND (p_scope <> 'channel' OR channel = p_name)
              AND day >= tollgate.day_of(v_start)
              AND (v_since IS NULL OR day < tollgate.day_of(v_since))
              AND v_currency IN ('', tollgate.currency_of(p_scope, currency, purchase_currency))
              AND v_window IN ('day', 'month', 'total')
            UNION ALL
            SELECT tollgate.window_start(v_window, reserved_ms),
                   -tollgate.takes(v_measure, -seconds, -list_nanos, -billed_nanos, NULL)::numeric
            FROM tollgate.adjustment
            WHERE kind = 'void' AND v_measure <> 'in_flight'
              AND (p_scope = 'key' AND key = p_name OR p_scope = 'group' AND group_name = p_name)
              AND reserved_ms >= v_start AND (v_since IS NULL OR reserved_ms < v_since)
              AND v_currency IN ('', currency)
        ) AS s
        GROUP BY s.start
        ON CONFLICT DO NOTHING;
        INSERT INTO tollgate.counted VALUES (p_scope, p_name, v_measure, v_currency, v_window, v_start)
        ON CONFLICT (scope, name, measure, currency, window_name) DO UPDATE SET since_ms = v_start;
    END LOOP;
END
$$;

-- Forgets the counters of windows that ended p_kept ago or before, of scopes that nobody uses
-- just now. A clock that is ahead of the database's forgets nothing early. Of at most so many
-- scopes at a time, in any order: each is locked until the commit, and the database's table of
-- locks is shared by all.
CREATE FUNCTION tollgate.forget_counters(p_now bigint, p_kept bigint) RETURNS void
LANGUAGE plpgsql SET lock_timeout = '4s'
AS $$
DECLARE
    v_starts bigint[] := tollgate.window_starts(
        greatest(0, least(p_now, (extract(epoch FROM now()) * 1000)::bigint) - p_kept));
    v_scope  text;
    v_name   text;
BEGIN
    FOR v_scope, v_name IN
        SELECT scope, name FROM tollgate.counter
        WHERE window_start_ms < tollgate.start_of(window_name, v_starts)
        GROUP BY scope, name ORDER BY random() LIMIT 500
    LOOP
        CONTINUE WHEN NOT pg_try_advisory_xact_lock(tollgate.scope_lock(v_scope, v_name));
        DELETE FROM tollgate.counter
        WHERE scope = v_scope AND name = v_name
            AND window_start_ms < tollgate.start_of(window_name, v_starts);
        UPDATE tollgate.counted SET since_ms = tollgate.start_of(window_name, v_starts)
        WHERE scope = v_scope AND name = v_name
            AND since_ms < tollgate.start_of(window_name, v_starts);
    END LOOP;
END
$$;

-- Reads what an idempotency key stands for, to the request of a reservation with a fingerprint;
-- no row where it stands for nothing. It becomes a part of the query that asks, which plans it
-- and gives it its snapshot.
CREATE FUNCTION tollgate.standing_claim(
    p_key text, p_idempotency_key text, p_now bigint, p_id uuid, p_fingerprint bytea)
RETURNS TABLE (o_outcome text, o_status integer, o_body bytea)
LANGUAGE sql STABLE
AS $$
    SELECT CASE
        WHEN i.reservation = p_id THEN 'done'
        WHEN i.fingerprint <> p_fingerprint THEN 'other'
        WHEN i.status IS NULL THEN 'in_flight'
        ELSE 'answered'
    END, i.status, i.body
    FROM tollgate.idempotency AS i
    WHERE i.key = p_key AND i.idempotency_key = p_idempotency_key
        AND (i.expires_ms > p_now OR i.status IS NULL)
$$;

-- Makes a charge pending. Limits are given in the order in which they are to be named.
-- o_outcome: done (o_counts: how much of each limit is used, in their order; null where an earlier
-- attempt made the charge); refused (o_limit, o_used); in_flight, other or answered (o_status, o_body)
-- for what the idempotency key stands for; track where a limit has no counter yet.
CREATE FUNCTION tollgate.reserve(
    p_id uuid, p_request_id text, p_now bigint, p_key text, p_group text, p_currency text, p_multiplier bigint,
    p_channel text, p_model text, p_size text, p_seconds bigint, p_list bigint, p_billed bigint,
    p_purchase bigint, p_purchase_currency text, p_purchase_price text, p_price_list text,
    p_address text, p_channel_clock bigint, p_gate uuid, p_prompt bytea, p_remix_of text, p_next_poll bigint,
    p_idempotency_key text, p_fingerprint bytea, p_expires bigint,
    p_scopes text[], p_names text[], p_measures text[], p_currencies text[], p_windows text[],
    p_mosts bigint[],
    OUT o_outcome text, OUT o_limit bigint, OUT o_used bigint, OUT o_status integer, OUT o_body bytea,
    OUT o_counts bigint[])
LANGUAGE plpgsql SET lock_timeout = '4s'
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    v_starts   bigint[] := tollgate.window_starts(p_now);
    v_counters boolean;
    v_refusal  text;
BEGIN
    IF EXISTS (SELECT 1 FROM tollgate.reservation WHERE id = p_id) THEN
        o_outcome := 'done';
        RETURN;
    END IF;
    IF p_idempotency_key IS NOT NULL THEN
        SELECT * INTO o_outcome, o_status, o_body
        FROM tollgate.standing_claim(p_key, p_idempotency_key, p_now, p_id, p_fingerprint);
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;

    PERFORM tollgate.share_scopes(p_key, p_group, p_channel);
    INSERT INTO tollgate.counter
    SELECT t.scope, t.name, tollgate.start_of(t.window_name, v_starts), t.window_name,
           t.measure, t.currency, 0
    FROM tollgate.counted AS t
    WHERE (t.scope, t.name) IN (('key', p_key), ('group', p_group), ('channel', p_channel))
        AND t.currency IN ('', tollgate.currency_of(t.scope, p_currency, p_purchase_currency))
        AND t.since_ms <= tollgate.start_of(t.window_name, v_starts)
        AND NOT EXISTS (
            SELECT 1 FROM tollgate.counter AS c
            WHERE (c.scope, c.name) = (t.scope, t.name)
                AND c.window_start_ms = tollgate.start_of(t.window_name, v_starts)
                AND (c.window_name, c.measure, c.currency) = (t.window_name, t.measure, t.currency))
    ORDER BY t.scope DESC, t.name, t.measure, t.currency, t.window_name
    ON CONFLICT DO NOTHING;
    v_counters := tollgate.lock_counters(
        p_key, p_group, p_currency, p_channel, p_purchase_currency, v_starts);
    IF cardinality(p_scopes) > 0 THEN
        SELECT l.n, coalesce(c.used, 0), CASE WHEN c.used IS NULL THEN 'track' ELSE 'refused' END
        INTO o_limit, o_used, v_refusal
        FROM unnest(p_scopes, p_names, p_measures, p_currencies, p_windows, p_mosts)
             WITH ORDINALITY AS l (scope, name, measure, currency, window_name, most, n)
        CROSS JOIN LATERAL (SELECT
            tollgate.start_of(l.window_name, v_starts) AS start,
            tollgate.takes(l.measure, p_seconds, p_list, p_billed, p_purchase) AS takes) AS u
        LEFT JOIN tollgate.counter AS c
            ON (c.scope, c.name, c.window_start_ms) = (l.scope, l.name, u.start)
            AND (c.window_name, c.measure, c.currency) = (l.window_name, l.measure, l.currency)
        WHERE c.used IS NULL OR u.takes > 0 AND c.used > l.most - u.takes
        ORDER BY c.used IS NULL DESC, l.n LIMIT 1;
        IF FOUND THEN
            -- What is in the way may be this very reservation, made by an earlier attempt, or
            -- the first request under its idempotency key, which a repetition waits for.
            IF EXISTS (SELECT 1 FROM tollgate.reservation WHERE id = p_id) THEN
                o_outcome := 'done';
                RETURN;
            END IF;
            SELECT * INTO o_outcome, o_status, o_body
            FROM tollgate.standing_claim(p_key, p_idempotency_key, p_now, p_id, p_fingerprint);
            o_outcome := coalesce(o_outcome, v_refusal);
            RETURN;
        END IF;
    END IF;

    IF p_idempotency_key IS NOT NULL THEN
        LOOP
            INSERT INTO tollgate.idempotency AS i
            VALUES (p_key, p_idempotency_key, p_fingerprint, p_id, p_expires, NULL, NULL)
            ON CONFLICT (key, idempotency_key) DO UPDATE
                SET fingerprint = p_fingerprint, reservation = p_id, expires_ms = p_expires,
                    status = NULL, body = NULL
                WHERE i.expires_ms <= p_now AND i.status IS NOT NULL;
            EXIT WHEN FOUND;
            -- Another request was faster. Unless it is given up just now, that is the answer.
            SELECT * INTO o_outcome, o_status, o_body
            FROM tollgate.standing_claim(p_key, p_idempotency_key, p_now, p_id, p_fingerprint);
            IF FOUND THEN
                RETURN;
            END IF;
        END LOOP;
    END IF;

    IF v_counters THEN
        WITH taken AS (
            UPDATE tollgate.counter
            SET used = tollgate.plus(
                used, tollgate.takes(measure, p_seconds, p_list, p_billed, p_purchase))
            WHERE (scope, name) IN (('key', p_key), ('group', p_group), ('channel', p_channel))
                AND window_start_ms = ANY (v_starts)
                AND window_start_ms = tollgate.start_of(window_name, v_starts)
                AND currency IN ('', tollgate.currency_of(scope, p_currency, p_purchase_currency))
            RETURNING scope, name, measure, currency, window_name, used)
        SELECT array_agg(t.used ORDER BY l.n) INTO o_counts
        FROM unnest(p_scopes, p_names, p_measures, p_currencies, p_windows)
            WITH ORDINALITY AS l (scope, name, measure, currency, window_name, n)
        JOIN taken AS t USING (scope, name, measure, currency, window_name);
    END IF;

    -- Where an earlier attempt of this call is committed just now, this fails, and the
    -- caller's next attempt finds it.
    INSERT INTO tollgate.reservation (
        id, created_ms, key, group_name, currency, multiplier_thousandths, channel, model, size,
        seconds, list_nanos, billed_nanos, purchase_nanos, purchase_currency, purchase_price,
        price_list, address, channel_clock_ms, state, gate, prompt_sha256, remix_of,
        idempotency_key, look_at_ms, request_id)
    VALUES (
        p_id, p_now, p_key, p_group, p_currency, p_multiplier, p_channel, p_model, p_size,
        p_seconds, p_list, p_billed, p_purchase, p_purchase_currency, p_purchase_price,
        p_price_list, p_address, p_channel_clock, 'pending', p_gate, p_prompt, p_remix_of,
        p_idempotency_key, p_next_poll, p_request_id);
    o_outcome := 'done';
END
$$;

-- Gives back to the counters what a reservation took, in the windows in which it did, and
-- takes what it costs now. Its counters are locked.
CREATE FUNCTION tollgate.correct(
    p_was tollgate.reservation, p_takes boolean, p_seconds bigint, p_list bigint, p_billed bigint,
    p_purchase bigint)
RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    v_starts bigint[] := tollgate.window_starts(p_was.created_ms);
BEGIN
    UPDATE tollgate.counter
    SET used = tollgate.plus(
        tollgate.minus(used, tollgate.takes(
            measure, p_was.seconds, p_was.list_nanos, p_was.billed_nanos, p_was.purchase_nanos)),
        CASE WHEN p_takes THEN tollgate.takes(measure, p_seconds, p_list, p_billed, p_purchase)
             ELSE 0 END)
    WHERE (scope, name) IN
            (('key', p_was.key), ('group', p_was.group_name), ('channel', p_was.channel))
        AND window_start_ms = ANY (v_starts)
        AND window_start_ms = tollgate.start_of(window_name, v_starts)
        AND currency IN ('', tollgate.currency_of(scope, p_was.currency, p_was.purchase_currency));
END
$$;

-- Moves a pending reservation to another channel, which takes it if its limits, given in the
-- order in which they are to be named, have room in the windows in which it was reserved. It keeps
-- its place under all others. o_outcome: done; refused (o_limit, o_used); closed, where it is not
-- pending any more; track. o_taken is when it was reserved.
CREATE FUNCTION tollgate.reroute(
    p_id uuid, p_operation uuid, p_channel text, p_address text, p_channel_clock bigint,
    p_purchase bigint, p_purchase_currency text, p_purchase_price text, p_refused_by text,
    p_measures text[], p_currencies text[], p_windows text[], p_mosts bigint[],
    OUT o_outcome text, OUT o_limit bigint, OUT o_used bigint, OUT o_taken bigint)
LANGUAGE plpgsql SET lock_timeout = '4s'
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    v_was    tollgate.reservation;
    v_starts bigint[];
    v_missing boolean;
BEGIN
    SELECT * INTO v_was FROM tollgate.reservation WHERE id = p_id FOR UPDATE;
    IF v_was.last_operation = p_operation THEN
        o_outcome := 'done';
        RETURN;
    ELSIF v_was.state IS NULL OR v_was.state <> 'pending' THEN
        o_outcome := 'closed';
        RETURN;
    END IF;

    o_taken := v_was.created_ms;
    v_starts := tollgate.window_starts(v_was.created_ms);
    -- In one order: two moves would else wait for each other behind those who ask for a scope alone.
    PERFORM pg_advisory_xact_lock_shared(tollgate.scope_lock('channel', least(v_was.channel, p_channel)));
    PERFORM pg_advisory_xact_lock_shared(tollgate.scope_lock('channel', greatest(v_was.channel, p_channel)));
    INSERT INTO tollgate.counter
    SELECT t.scope, t.name, tollgate.start_of(t.window_name, v_starts), t.window_name,
           t.measure, t.currency, 0
    FROM tollgate.counted AS t
    WHERE (t.scope, t.name) = ('channel', p_channel)
        AND t.currency IN ('', coalesce(p_purchase_currency, ''))
        AND t.since_ms <= tollgate.start_of(t.window_name, v_starts)
    ORDER BY t.measure, t.currency, t.window_name
    ON CONFLICT DO NOTHING;
    PERFORM 1 FROM tollgate.counter
    WHERE scope = 'channel' AND name IN (v_was.channel, p_channel)
        AND window_start_ms = ANY (v_starts)
        AND window_start_ms = tollgate.start_of(window_name, v_starts)
    ORDER BY name, measure, currency, window_name, window_start_ms
    FOR UPDATE;
    IF p_channel <> v_was.channel THEN
        SELECT l.n, coalesce(c.used, 0), c.used IS NULL INTO o_limit, o_used, v_missing
        FROM unnest(p_measures, p_currencies, p_windows, p_mosts)
             WITH ORDINALITY AS l (measure, currency, window_name, most, n)
        CROSS JOIN LATERAL (SELECT
            tollgate.start_of(l.window_name, v_starts) AS start,
            tollgate.takes(l.measure, v_was.seconds, v_was.list_nanos, v_was.billed_nanos, p_purchase)
                AS takes) AS u
        LEFT JOIN tollgate.counter AS c
            ON (c.scope, c.name, c.window_start_ms) = ('channel', p_channel, u.start)
            AND (c.window_name, c.measure, c.currency) = (l.window_name, l.measure, l.currency)
        WHERE c.used IS NULL OR u.takes > 0 AND c.used > l.most - u.takes
        ORDER BY c.used IS NULL DESC, l.n LIMIT 1;
        IF FOUND THEN
            o_outcome := CASE WHEN v_missing THEN 'track' ELSE 'refused' END;
            RETURN;
        END IF;
    END IF;

    UPDATE tollgate.counter
    SET used = tollgate.minus(used, tollgate.takes(
        measure, v_was.seconds, v_was.list_nanos, v_was.billed_nanos, v_was.purchase_nanos))
    WHERE (scope, name) = ('channel', v_was.channel)
        AND window_start_ms = ANY (v_starts)
        AND window_start_ms = tollgate.start_of(window_name, v_starts)
        AND currency IN ('', coalesce(v_was.purchase_currency, ''));
    UPDATE tollgate.counter
    SET used = tollgate.plus(used, tollgate.takes(
        measure, v_was.seconds, v_was.list_nanos, v_was.billed_nanos, p_purchase))
    WHERE (scope, name) = ('channel', p_channel)
        AND window_start_ms = ANY (v_starts)
        AND window_start_ms = tollgate.start_of(window_name, v_starts)
        AND currency IN ('', coalesce(p_purchase_currency, ''));
    UPDATE tollgate.reservation
    SET channel = p_channel, address = p_address, channel_clock_ms = p_channel_clock,
        purchase_nanos = p_purchase, purchase_currency = p_purchase_currency,
        purchase_price = p_purchase_price, refused_by = p_refused_by, last_operation = p_operation,
        answer_status = NULL, answer_request_id = NULL, answer_error = NULL
    WHERE id = p_id;
    o_outcome := 'done';
END
$$;

-- What serialises those who ask for one upstream id of a channel.
CREATE FUNCTION tollgate.upstream_lock(channel text, upstream_id text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT hashtextextended('tollgate upstream ' || channel || ' ' || upstream_id, 0) $$;

-- Which reservation has the job of that upstream id on that channel. For queries: a decision
-- would plan it anew at each call.
CREATE FUNCTION tollgate.owner(p_channel text, p_upstream_id text) RETURNS uuid
LANGUAGE sql STABLE
AS $$
    SELECT id FROM tollgate.reservation
    WHERE job = p_upstream_id AND channel = p_channel AND upstream_id IS NULL
    UNION ALL
    SELECT id FROM tollgate.reservation WHERE channel = p_channel AND upstream_id = p_upstream_id
    LIMIT 1
$$;

-- Ties a reservation to its job. p_upstream_id is null where the public id p_job is it too.
-- o_outcome: now, with the reservation as it was (o_was) and whether it was corrected, and if
-- not the limit (o_limit, o_used) for whose sake; already, with the public id (o_job); taken;
-- id_taken; closed; track. The repetition of the very call that confirmed it answers now,
-- with the charge as it has become. The limits are those of the payer, by the names that the
-- reservation has.
CREATE FUNCTION tollgate.confirm(
    p_id uuid, p_operation uuid, p_job text, p_upstream_id text, p_now bigint,
    p_channel text, p_model text, p_size text, p_seconds bigint, p_list bigint, p_billed bigint,
    p_purchase bigint, p_status integer, p_body bytea,
    p_answer_status integer, p_answer_request_id text,
    p_scopes text[], p_measures text[], p_windows text[], p_mosts bigint[],
    OUT o_outcome text, OUT o_job text, OUT o_corrected boolean,
    OUT o_limit bigint, OUT o_used bigint, OUT o_was tollgate.reservation)
LANGUAGE plpgsql SET lock_timeout = '4s'
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    v_was   tollgate.reservation;
    v_channel text;
    v_upstream_id text;
    v_owner uuid;
    v_starts bigint[];
    v_missing boolean;
    v_place bigint;
    v_is_other boolean;
BEGIN
    SELECT * INTO v_was FROM tollgate.reservation AS r WHERE r.id = p_id FOR UPDATE;
    o_corrected := false;
    o_was := v_was;

    v_channel := coalesce(v_was.channel, p_channel);
    v_upstream_id := coalesce(p_upstream_id, p_job);
    PERFORM pg_advisory_xact_lock(tollgate.upstream_lock(v_channel, v_upstream_id));
    SELECT r.id INTO v_owner FROM tollgate.reservation AS r
    WHERE r.job = v_upstream_id AND r.channel = v_channel AND r.upstream_id IS NULL;
    IF v_owner IS NULL THEN
        SELECT r.id INTO v_owner FROM tollgate.reservation AS r
        WHERE r.channel = v_channel AND r.upstream_id = v_upstream_id;
    END IF;
    IF v_owner = p_id THEN
        o_outcome := CASE WHEN v_was.last_operation = p_operation THEN 'now' ELSE 'already' END;
        o_job := v_was.job;
        RETURN;
    ELSIF v_owner IS NOT NULL THEN
        o_outcome := 'taken';
        RETURN;
    ELSIF v_was.state IS NULL OR v_was.state NOT IN ('pending', 'unknown') THEN
        o_outcome := 'closed';
        RETURN;
    ELSIF EXISTS (SELECT 1 FROM tollgate.reservation AS r WHERE r.job = p_job) THEN
        o_outcome := 'id_taken';
        RETURN;
    END IF;

    o_corrected := true;
    IF ROW(p_seconds, p_list, p_billed, p_purchase)
            IS DISTINCT FROM ROW(v_was.seconds, v_was.list_nanos, v_was.billed_nanos, v_was.purchase_nanos) THEN
        v_starts := tollgate.window_starts(v_was.created_ms);
        PERFORM tollgate.share_scopes(v_was.key, v_was.group_name, v_was.channel);
        PERFORM tollgate.lock_counters(v_was.key, v_was.group_name, v_was.currency,
                                       v_was.channel, v_was.purchase_currency, v_starts);
        -- The first limit that has no counter, or that what is added would exceed. A window
        -- that has passed refuses nothing any more.
        SELECT l.n, c.used, t.since_ms IS NULL INTO o_limit, o_used, v_missing
        FROM unnest(p_scopes, p_measures, p_windows, p_mosts)
             WITH ORDINALITY AS l (scope, measure, window_name, most, n)
        CROSS JOIN LATERAL (SELECT
            CASE l.scope WHEN 'key' THEN v_was.key ELSE v_was.group_name END AS name,
            CASE l.measure WHEN 'billed_cost' THEN v_was.currency ELSE '' END AS currency,
            tollgate.start_of(l.window_name, v_starts) AS start,
            tollgate.takes(l.measure, p_seconds, p_list, p_billed, NULL)
                - tollgate.takes(l.measure, v_was.seconds, v_was.list_nanos, v_was.billed_nanos, NULL)
                AS adds) AS u
        LEFT JOIN tollgate.counted AS t
            ON (t.scope, t.name, t.measure) = (l.scope, u.name, l.measure)
            AND (t.currency, t.window_name) = (u.currency, l.window_name) AND t.since_ms <= u.start
        LEFT JOIN tollgate.counter AS c
            ON (c.scope, c.name, c.window_start_ms) = (l.scope, u.name, u.start)
            AND (c.window_name, c.measure, c.currency) = (l.window_name, l.measure, u.currency)
        WHERE u.adds > 0 AND (t.since_ms IS NULL OR coalesce(c.used, 0) > l.most - u.adds)
            AND u.start >= tollgate.window_start(l.window_name, p_now)
        ORDER BY t.since_ms IS NULL DESC, l.n LIMIT 1;
        IF v_missing THEN
            o_outcome := 'track';
            RETURN;
        END IF;
        o_corrected := o_limit IS NULL;
        IF o_corrected THEN
            PERFORM tollgate.correct(v_was, true, p_seconds, p_list, p_billed, p_purchase);
        END IF;
    END IF;

    IF p_status IS NOT NULL AND v_was.idempotency_key IS NOT NULL THEN
        UPDATE tollgate.idempotency AS i SET status = p_status, body = p_body
        WHERE i.key = v_was.key AND i.idempotency_key = v_was.idempotency_key
          AND i.reservation = p_id;
    END IF;

    v_is_other := o_corrected AND ROW(p_size, p_seconds, p_list, p_billed)
        IS DISTINCT FROM ROW(v_was.size, v_was.seconds, v_was.list_nanos, v_was.billed_nanos);
    -- The account's row is held until the commit: places are in the order of commits.
    INSERT INTO tollgate.account AS a VALUES (v_was.key, 1)
    ON CONFLICT (key) DO UPDATE SET last_place = a.last_place + 1
    RETURNING a.last_place INTO v_place;
    UPDATE tollgate.reservation AS r
    SET state = 'confirmed', job = p_job, upstream_id = p_upstream_id, place = v_place, confirmed_ms = p_now,
        last_operation = p_operation,
        answer_error = CASE WHEN p_answer_status IS NULL THEN v_was.answer_error END,
        answer_status = coalesce(p_answer_status, v_was.answer_status),
        answer_request_id = CASE WHEN p_answer_status IS NULL THEN v_was.answer_request_id
            ELSE p_answer_request_id END,
        channel      = CASE WHEN o_corrected THEN p_channel ELSE v_was.channel END,
        model        = CASE WHEN o_corrected THEN p_model ELSE v_was.model END,
        size         = CASE WHEN o_corrected THEN p_size ELSE v_was.size END,
        seconds      = CASE WHEN o_corrected THEN p_seconds ELSE v_was.seconds END,
        list_nanos   = CASE WHEN o_corrected THEN p_list ELSE v_was.list_nanos END,
        billed_nanos = CASE WHEN o_corrected THEN p_billed ELSE v_was.billed_nanos END,
        purchase_nanos = CASE WHEN o_corrected THEN p_purchase ELSE v_was.purchase_nanos END,
        uncorrected_size         = CASE WHEN v_is_other THEN v_was.size END,
        uncorrected_seconds      = CASE WHEN v_is_other THEN v_was.seconds END,
        uncorrected_list_nanos   = CASE WHEN v_is_other THEN v_was.list_nanos END,
        uncorrected_billed_nanos = CASE WHEN v_is_other THEN v_was.billed_nanos END
    WHERE r.id = p_id;
    o_outcome := 'now';
END
$$;

-- Posts or voids a reservation that is in one of the states p_from. Answers its row as it
-- was, or none where it is in another state; to the repetition of the very call that
-- resolved it, its row.
CREATE FUNCTION tollgate.resolve(
    p_id uuid, p_operation uuid, p_from text[], p_state text, p_outcome text, p_now bigint)
RETURNS SETOF tollgate.reservation
LANGUAGE plpgsql SET lock_timeout = '4s'
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
DECLARE
    v_was tollgate.reservation;
BEGIN
    SELECT * INTO v_was FROM tollgate.reservation WHERE id = p_id FOR UPDATE;
    IF v_was.last_operation = p_operation THEN
        RETURN NEXT v_was;
        RETURN;
    ELSIF v_was.state IS NULL OR v_was.state <> ALL (p_from) THEN
        RETURN;
    END IF;

    PERFORM tollgate.share_scopes(v_was.key, v_was.group_name, v_was.channel);
    IF p_state = 'voided' THEN
        IF tollgate.lock_counters(v_was.key, v_was.group_name, v_was.currency,
                                  v_was.channel, v_was.purchase_currency,
                                  tollgate.window_starts(v_was.created_ms)) THEN
            PERFORM tollgate.correct(v_was, false, 0, 0, 0, 0);
        END IF;
    ELSE
        -- What is posted stays owed: only that it was in flight is given back.
        PERFORM 1 FROM tollgate.counter
        WHERE (scope, name) IN
                (('key', v_was.key), ('group', v_was.group_name), ('channel', v_was.channel))
            AND (window_start_ms, window_name, measure, currency) = (0, 'total', 'in_flight', '')
        ORDER BY scope DESC
        FOR UPDATE;
        IF FOUND THEN
            UPDATE tollgate.counter SET used = greatest(0, used - 1)
            WHERE (scope, name) IN
                    (('key', v_was.key), ('group', v_was.group_name), ('channel', v_was.channel))
                AND (window_start_ms, window_name, measure, currency) = (0, 'total', 'in_flight', '');
        END IF;
    END IF;
    IF v_was.job IS NULL AND v_was.idempotency_key IS NOT NULL THEN
        DELETE FROM tollgate.idempotency
        WHERE key = v_was.key AND idempotency_key = v_was.idempotency_key AND reservation = p_id;
    END IF;
    UPDATE tollgate.reservation
    SET state = p_state, outcome = p_outcome, resolved_ms = p_now, last_operation = p_operation
    WHERE id = p_id;
    RETURN NEXT v_was;
END
$$;

-- Gives back to the limits of its key and group what a reservation took that was posted and is
-- voided by an adjustment of this transaction. Its channel has done the work, and is in flight no
-- more.
CREATE FUNCTION tollgate.give_back(p_id uuid) RETURNS void
LANGUAGE plpgsql SET lock_timeout = '4s'
AS $$
DECLARE
    v_was    tollgate.reservation;
    v_starts bigint[];
BEGIN
    SELECT * INTO v_was FROM tollgate.reservation WHERE id = p_id FOR UPDATE;
    v_starts := tollgate.window_starts(v_was.created_ms);
    PERFORM tollgate.share_scopes(v_was.key, v_was.group_name, v_was.channel);
    IF tollgate.lock_counters(v_was.key, v_was.group_name, v_was.currency,
                              v_was.channel, v_was.purchase_currency, v_starts) THEN
        UPDATE tollgate.counter
        SET used = tollgate.minus(used, tollgate.takes(
            measure, v_was.seconds, v_was.list_nanos, v_was.billed_nanos, NULL))
        WHERE (scope, name) IN (('key', v_was.key), ('group', v_was.group_name))
            AND window_start_ms = ANY (v_starts)
            AND window_start_ms = tollgate.start_of(window_name, v_starts)
            AND measure <> 'in_flight' AND currency IN ('', v_was.currency);
    END IF;
END
$$;

-- Renews the lease of a gate for 20 seconds, and marks as unknown what gates without a
-- lease have left pending, or this one for longer than p_lost_after. Answers how many.
CREATE FUNCTION tollgate.heartbeat(p_gate uuid, p_now bigint, p_lost_after bigint) RETURNS bigint
LANGUAGE plpgsql SET lock_timeout = '4s'
AS $$
DECLARE
    v_marked bigint;
BEGIN
    INSERT INTO tollgate.lease VALUES ('gate:' || p_gate, p_gate, now() + interval '20 seconds')
    ON CONFLICT (name) DO UPDATE SET until = excluded.until;
    DELETE FROM tollgate.lease WHERE name LIKE 'gate:%' AND until < now() - interval '1 day';
    UPDATE tollgate.reservation SET state = 'unknown', unknown_since_ms = p_now
    WHERE id IN (
        SELECT r.id FROM tollgate.reservation AS r
        WHERE r.state = 'pending' AND CASE
            WHEN r.gate = p_gate THEN p_now - r.created_ms > p_lost_after
            ELSE NOT EXISTS (
                SELECT 1 FROM tollgate.lease AS l
                WHERE l.name = 'gate:' || r.gate AND l.until > now())
        END
        FOR UPDATE OF r SKIP LOCKED);
    GET DIAGNOSTICS v_marked = ROW_COUNT;
    RETURN v_marked;
END
$$;

-- Forgets at most p_most idempotency keys that have expired and reservations that were
-- resolved before p_before; the posted ones live on in the totals, to which a trigger adds those of
-- the bill. Answers how many.
CREATE FUNCTION tollgate.prune(p_before bigint, p_now bigint, p_most bigint) RETURNS bigint
LANGUAGE plpgsql SET lock_timeout = '4s'
AS $$
DECLARE
    v_keys bigint;
    v_reservations bigint;
BEGIN
    DELETE FROM tollgate.idempotency WHERE (key, idempotency_key) IN (
        SELECT key, idempotency_key FROM tollgate.idempotency
        WHERE expires_ms <= p_now AND status IS NOT NULL ORDER BY expires_ms LIMIT p_most FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS v_keys = ROW_COUNT;
    WITH gone AS (
        DELETE FROM tollgate.reservation WHERE id IN (
            SELECT id FROM tollgate.reservation
            WHERE resolved_ms < p_before
            ORDER BY resolved_ms LIMIT p_most - v_keys FOR UPDATE SKIP LOCKED)
        RETURNING *
    ), summed AS (
        INSERT INTO tollgate.total AS t
        SELECT tollgate.day_of(created_ms), key, group_name, currency, channel, model, size,
               count(*), sum(seconds), sum(list_nanos), sum(billed_nanos),
               coalesce(purchase_currency, ''), coalesce(sum(purchase_nanos), 0)
        FROM gone WHERE state = 'posted'
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 12 ORDER BY 2, 1, 3, 4, 5, 6, 7, 12
        ON CONFLICT (key, day, group_name, currency, channel, model, size, purchase_currency)
            DO UPDATE
            SET jobs = t.jobs + excluded.jobs, seconds = t.seconds + excluded.seconds,
                list_nanos = t.list_nanos + excluded.list_nanos,
                billed_nanos = t.billed_nanos + excluded.billed_nanos,
                purchase_nanos = t.purchase_nanos + excluded.purchase_nanos
    )
    SELECT count(*) INTO v_reservations FROM gone;
    RETURN v_keys + v_reservations;
END
$$;

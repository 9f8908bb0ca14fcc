-- The partitions of a table that is cut by session id, and until when their sessions began.
CREATE FUNCTION session_partitions(parent regclass, OUT name text, OUT upper_at timestamptz)
  RETURNS SETOF record
  LANGUAGE sql STABLE
  BEGIN ATOMIC
    SELECT child.relname::text,
           to_timestamp(('x' || substr(replace(bound[1], '-', ''), 1, 12))::bit(48)::bigint / 1000.0)
      FROM pg_inherits
      JOIN pg_class AS child ON child.oid = inhrelid
     CROSS JOIN regexp_match(pg_get_expr(child.relpartbound, child.oid), $re$TO \('([0-9a-f-]{36})'\)$re$) AS bound
     WHERE inhparent = parent;
  END;

-- As before, but: what there has to be is made before anything is dropped; what is in use is dropped
-- another time; tables that are cut by something else are left alone; and without `keep` nothing goes.
CREATE OR REPLACE FUNCTION keep_partitions(width interval, keep interval) RETURNS text[]
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path FROM CURRENT
  -- Others wait behind it for as long as it waits for a lock. It is run again in a minute.
  SET lock_timeout = '500ms'
  AS $$
DECLARE
  parents text[];
  parent text;
  part record;
  lower_at timestamptz;
  name text;
  dropped text[] := '{}';
BEGIN
  IF NOT pg_try_advisory_xact_lock(hashtext(current_schema() || '.keep_partitions')) THEN
    RETURN NULL;
  END IF;
  SELECT array_agg(relname) INTO parents FROM pg_class
   WHERE relkind = 'p' AND relnamespace = current_schema()::regnamespace
     AND pg_get_partkeydef(oid) = 'RANGE (session_id)';
  FOREACH parent IN ARRAY parents LOOP
    -- A session may have begun by a clock that runs behind.
    SELECT greatest(date_bin(width, now() - width, 'epoch'), max(upper_at)) INTO lower_at
      FROM session_partitions(quote_ident(parent)::regclass);
    WHILE lower_at < now() + 2 * width LOOP
      name := parent || to_char(lower_at AT TIME ZONE 'UTC', '_YYYYMMDD_HH24MISS');
      EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', name, parent);
      -- Attached, not made in place: that would lock out the readers of the whole table.
      EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                     parent, name, session_id_at(lower_at), session_id_at(lower_at + width));
      lower_at := lower_at + width;
    END LOOP;
  END LOOP;
  FOREACH parent IN ARRAY parents LOOP
    FOR part IN
      SELECT * FROM session_partitions(quote_ident(parent)::regclass)
       WHERE upper_at + keep < now() ORDER BY upper_at
    LOOP
      BEGIN
        EXECUTE format('DROP TABLE %I', part.name);
        dropped := dropped || part.name;
      EXCEPTION WHEN lock_not_available THEN
        -- What was dropped already locks the tables until the end: that must not be long.
        RAISE WARNING '% is in use: it is dropped another time', part.name;
        RETURN dropped;
      END;
    END LOOP;
  END LOOP;
  RETURN dropped;
END
$$;

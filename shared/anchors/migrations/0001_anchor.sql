-- Where each anchored session stands. A session id is a UUIDv7, so it starts with the time when the
-- session began: by it both tables are cut into partitions, and those of sessions that are all over
-- are dropped whole.
CREATE TABLE anchor (
  session_id uuid PRIMARY KEY,
  -- The newest version.
  version integer NOT NULL CHECK (version > 0),
  -- SHA-256 of "anchor" and the version's chain digest. The digest itself lies in sealed waybills
  -- alone, so nobody can put an older one here from what the tables hold.
  head bytea NOT NULL,
  ended boolean NOT NULL DEFAULT false,
  -- waybill.envelope.v1.Answer, sealed: what the newest advance was answered, and the checkpoint.
  answer bytea NOT NULL
) PARTITION BY RANGE (session_id);

-- What is sealed does not get smaller.
ALTER TABLE anchor ALTER COLUMN answer SET STORAGE EXTERNAL;

-- A line for each version that there was: what it was made of, and by whom.
CREATE TABLE advance (
  session_id uuid NOT NULL,
  version integer NOT NULL,
  -- SHA-256 of "advance" and the version's chain digest.
  digest bytea NOT NULL,
  -- The same of the version before it. Null for the first.
  parent bytea,
  -- SHA-256 of "call", the chain digest before it, and the digests of key and request: by it a call
  -- that is made again, when its answer is gone, is told that it was served. Null for the first.
  call bytea,
  replica text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (session_id, version)
) PARTITION BY RANGE (session_id);

-- The least UUIDv7 of a moment.
CREATE FUNCTION session_id_at(moment timestamptz) RETURNS uuid
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN rpad(lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0'), 32, '0')::uuid;

-- Makes the partitions of the current stretch of time and of the next two, of every table of this
-- schema that is cut by session id, and drops those whose sessions began longer than `keep` ago. Answers the names of what it dropped; null when another has
-- the work in hand. It is run by the service, whose role owns none of the tables.
CREATE FUNCTION keep_partitions(width interval, keep interval) RETURNS text[]
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path FROM CURRENT
  -- Others wait behind it for as long as it waits for a lock. It is run again in a minute.
  SET lock_timeout = '500ms'
  AS $$
DECLARE
  parent text;
  part record;
  lower_at timestamptz;
  name text;
  dropped text[] := '{}';
BEGIN
  IF NOT pg_try_advisory_xact_lock(hashtext(current_schema() || '.keep_partitions')) THEN
    RETURN NULL;
  END IF;
  FOR parent IN
    SELECT relname FROM pg_class
     WHERE relkind = 'p' AND relnamespace = current_schema()::regnamespace
  LOOP
    -- A session may have begun by a clock that runs behind.
    lower_at := date_bin(width, now() - width, 'epoch');
    FOR part IN
      SELECT child.relname AS name,
             to_timestamp(('x' || substr(replace(bound[1], '-', ''), 1, 12))::bit(48)::bigint / 1000.0) AS upper_at
        FROM pg_inherits
        JOIN pg_class AS child ON child.oid = inhrelid
       CROSS JOIN regexp_match(pg_get_expr(child.relpartbound, child.oid), $re$TO \('([0-9a-f-]{36})'\)$re$) AS bound
       WHERE inhparent = to_regclass(parent)
       ORDER BY upper_at
    LOOP
      IF part.upper_at + keep < now() THEN
        EXECUTE format('DROP TABLE %I', part.name);
        dropped := dropped || part.name::text;
      END IF;
      lower_at := greatest(lower_at, part.upper_at);
    END LOOP;
    WHILE lower_at < now() + 2 * width LOOP
      name := parent || to_char(lower_at AT TIME ZONE 'UTC', '_YYYYMMDD_HH24MISS');
      EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', name, parent);
      -- Attached, not made in place: that would lock out the readers of the whole table.
      EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                     parent, name, session_id_at(lower_at), session_id_at(lower_at + width));
      lower_at := lower_at + width;
    END LOOP;
  END LOOP;
  RETURN dropped;
END
$$;

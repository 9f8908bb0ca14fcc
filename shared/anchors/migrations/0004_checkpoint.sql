-- Of a carried session that has an owner the version that he can resume: the newest that was kept. A row
-- goes with its session's partition.
CREATE TABLE checkpoint (
  session_id uuid PRIMARY KEY,
  version integer NOT NULL CHECK (version > 0),
  -- waybill.envelope.v1.Answer, sealed: what the version's waybill said.
  content bytea NOT NULL
) PARTITION BY RANGE (session_id);

ALTER TABLE checkpoint ALTER COLUMN content SET STORAGE EXTERNAL;

-- States that were too large to be carried. A row never changes, and goes with its session's partition.
CREATE TABLE spill (
  session_id uuid NOT NULL,
  -- HMAC-SHA-256 of the state, under a key that its session's waybills alone carry.
  address bytea NOT NULL,
  -- The state, sealed with AES-256-GCM under another key of the session's: nonce, ciphertext, tag.
  content bytea NOT NULL,
  PRIMARY KEY (session_id, address)
) PARTITION BY RANGE (session_id);

ALTER TABLE spill ALTER COLUMN content SET STORAGE EXTERNAL;

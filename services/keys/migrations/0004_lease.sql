-- Which version of its ring a key came with: whoever has that version has the key.
ALTER TABLE keys.ring DROP CONSTRAINT ring_version_check, ADD CHECK (version >= 0);
ALTER TABLE keys.ring_key ADD COLUMN since_version integer;
UPDATE keys.ring_key SET since_version = ring.version
  FROM keys.ring WHERE ring.audience = ring_key.audience;
ALTER TABLE keys.ring_key ALTER COLUMN since_version SET NOT NULL;

-- Two keys stand by: one for an emergency, also while the other has just become the sealer.
DROP INDEX keys.ring_key_one_pending;

-- Who may seal under a ring, and which version of it he is known to have. Granted and renewed while the
-- ring's row is locked.
CREATE TABLE keys.lease (
  audience text NOT NULL REFERENCES keys.ring,
  -- The process: host, number, and what it drew when it started.
  holder text NOT NULL,
  acknowledged_version integer NOT NULL,
  -- The newest revision of the audience's state that it reads.
  reads_revision integer NOT NULL,
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (audience, holder)
);

-- The ring of each audience. Its row is locked by whatever changes the ring.
CREATE TABLE keys.ring (
  audience text PRIMARY KEY CHECK (audience ~ '^[a-z][a-z0-9-]{0,62}$'),
  version integer NOT NULL CHECK (version > 0)
);

-- The keys of the rings, wrapped. The wrapping authenticates audience, id and state.
CREATE TABLE keys.ring_key (
  id text PRIMARY KEY CHECK (length(id) = 11),
  audience text NOT NULL REFERENCES keys.ring,
  state text NOT NULL CHECK (state IN ('pending', 'active', 'retired')),
  -- Which key-encryption key it is wrapped with.
  wrapping_key_id text NOT NULL,
  wrapped bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE UNIQUE INDEX ring_key_one_active ON keys.ring_key (audience) WHERE state = 'active';
CREATE UNIQUE INDEX ring_key_one_pending ON keys.ring_key (audience) WHERE state = 'pending';
CREATE INDEX ring_key_audience ON keys.ring_key (audience);

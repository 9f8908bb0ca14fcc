-- What tokens are signed with, wrapped: `EdDSA` and `ES256` sign access tokens, `HMAC` derives
-- refresh tokens. The newest whose time has come is used; a later one is published beforehand.
CREATE TABLE token.signing_key (
  id text PRIMARY KEY,
  algorithm text NOT NULL CHECK (algorithm IN ('EdDSA', 'ES256', 'HMAC')),
  -- A JWK; null for HMAC.
  public_jwk jsonb,
  wrapping_key_id text NOT NULL,
  wrapped bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  activates_at timestamptz NOT NULL
);

-- A sign-in: all tokens that descend from it. Holds no token and no digest of one: they are derived.
CREATE TABLE token.family (
  id uuid PRIMARY KEY,
  subject text NOT NULL,
  -- Empty where the user signed in through none that is registered.
  client text NOT NULL,
  scopes text[] NOT NULL,
  audiences text[] NOT NULL,
  -- The subject's, at sign-in.
  epoch integer NOT NULL,
  device text NOT NULL,
  address text NOT NULL,
  -- What its refresh tokens are bound to, such as `jkt:` and a thumbprint. Empty: to nothing.
  confirmation text NOT NULL,
  -- Which key its refresh tokens are derived with.
  key_id text NOT NULL,
  -- The newest refresh token's number. Those before it are spent.
  generation integer NOT NULL DEFAULT 1,
  -- Digest of the idempotency key that the newest was made for. Null: none was sent.
  redemption bytea,
  redeemed_at timestamptz NOT NULL DEFAULT now(),
  -- Whether the newest was answered again for its earliness alone, and in how many generations in a row.
  graced boolean NOT NULL DEFAULT false,
  graces integer NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL DEFAULT now(),
  idle_expires_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  ended_at timestamptz,
  end_reason text
) WITH (fillfactor = 80);
CREATE INDEX family_subject ON token.family (subject, id) WHERE ended_at IS NULL;
CREATE INDEX family_expires_at ON token.family (expires_at);

-- Subjects whose sign-ins were ended a short while ago: one that was under way meanwhile ends too.
CREATE TABLE token.ended_subject (
  subject text PRIMARY KEY,
  epoch integer NOT NULL,
  ended_at timestamptz NOT NULL DEFAULT now()
);

-- What may be used once, and was: digests.
CREATE TABLE token.spent (
  digest bytea PRIMARY KEY,
  expires_at timestamptz NOT NULL
);
CREATE INDEX spent_expires_at ON token.spent (expires_at);

-- How many grants a client has been allowed in the window that is running.
CREATE TABLE token.grant_window (
  client text PRIMARY KEY,
  taken integer NOT NULL,
  ends_at timestamptz NOT NULL
);

-- Families that were ended here, until the feed has acknowledged it.
CREATE TABLE token.outbox (
  id bytea PRIMARY KEY CHECK (length(id) = 16),
  family uuid NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX outbox_family ON token.outbox (family);

CREATE TABLE token.audit_event (
  id uuid PRIMARY KEY,
  created_at timestamptz NOT NULL DEFAULT now(),
  action text NOT NULL,
  outcome text NOT NULL,
  actor text NOT NULL,
  client text NOT NULL,
  target text NOT NULL,
  address text NOT NULL,
  details jsonb NOT NULL
);
CREATE INDEX audit_event_actor ON token.audit_event (actor, id);
CREATE INDEX audit_event_target ON token.audit_event (target, id);

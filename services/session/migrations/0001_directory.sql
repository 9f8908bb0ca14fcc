-- The owners' anchored sessions, whichever service anchors them. Partitioned, as the anchors are, by
-- the time that the session's id starts with.
CREATE TABLE session.directory (
  session_id uuid PRIMARY KEY,
  subject text NOT NULL,
  audience text NOT NULL,
  expires_at timestamptz NOT NULL
) PARTITION BY RANGE (session_id);

CREATE INDEX directory_subject ON session.directory (subject, session_id DESC);

-- The feed's number. Its one row is locked by whatever changes a product until that is committed, so
-- numbers appear in their order and without gaps; a sequence's would not.
CREATE TABLE catalog.feed (
  is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
  number bigint NOT NULL
);
-- 0 is the number of who knows nothing.
INSERT INTO catalog.feed (number) VALUES (1);

-- The newest changes: each one takes the place of one that so many came after. Whoever asks for what comes
-- after an older one sees that the next number is not there.
CREATE TABLE catalog.change (
  number bigint PRIMARY KEY,
  product_id bigint NOT NULL
);

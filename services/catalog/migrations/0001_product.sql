-- The products. What the data set does not know is null.
CREATE TABLE catalog.product (
  -- Position in the data set, from 1; the number in the resource name.
  id bigint PRIMARY KEY,
  -- Sorts and compares by bytes, on every machine alike.
  title text COLLATE "C" NOT NULL,
  untitled boolean NOT NULL,
  release_date date,
  rating text,
  genre text,
  director text,
  distributor text,
  running_time_minutes integer,
  imdb_rating_tenths integer,
  price_cents bigint NOT NULL CHECK (price_cents > 0)
);

-- One index for each order that ListProducts offers.
CREATE INDEX product_title ON catalog.product (title, id);
CREATE INDEX product_price ON catalog.product (price_cents, id);
CREATE INDEX product_release_date ON catalog.product ((coalesce(release_date, '-infinity'::date)), id);
CREATE INDEX product_genre ON catalog.product (genre, id);

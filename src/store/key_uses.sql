-- Version 3: how keys begin and when they were last used, so that operators can tell them apart.

ALTER TABLE api_key ADD COLUMN begins TEXT;       -- its first characters; empty until they are known
ALTER TABLE api_key ADD COLUMN last_used INTEGER; -- to the minute; empty: never since version 3

-- The same for keys that tiers.yaml lists.
CREATE TABLE listed_key (
    hash      BLOB    NOT NULL PRIMARY KEY,
    begins    TEXT    NOT NULL,
    last_used INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Jobs: one thing that somebody asked for, done to many operations one by one, and what became of it at each.

CREATE TABLE job (
    namespace    TEXT    NOT NULL,
    job          TEXT    NOT NULL,
    action       TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    starter      TEXT    NOT NULL,
    principal    TEXT    NOT NULL,
    request_id   TEXT    NOT NULL,
    digest       TEXT    NOT NULL,
    said         BLOB    NOT NULL,
    started_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    ended_at     INTEGER,
    expected     INTEGER NOT NULL,
    is_exact     INTEGER NOT NULL,
    after_at     INTEGER,
    after_number INTEGER,
    is_listed    INTEGER NOT NULL,
    listed       INTEGER NOT NULL,
    done         INTEGER NOT NULL,
    skipped      INTEGER NOT NULL,
    refused      INTEGER NOT NULL,
    ended_by     TEXT    NOT NULL,
    fault        TEXT    NOT NULL,
    PRIMARY KEY (namespace, job)
) STRICT;

CREATE UNIQUE INDEX job_by_request ON job (namespace, starter, action, request_id) WHERE request_id <> '';
CREATE INDEX job_open ON job (namespace, job) WHERE ended_at IS NULL;

-- An operation's turn in a job: written before anything is done to it, and again with what became of it. So a job that
-- was broken off knows what it may have done, and an operation that no longer matches keeps its result.
CREATE TABLE job_result (
    namespace TEXT    NOT NULL,
    job       TEXT    NOT NULL,
    number    INTEGER NOT NULL,
    operation TEXT    NOT NULL,
    outcome   TEXT    NOT NULL,
    at        INTEGER,
    state     TEXT    NOT NULL,
    revision  INTEGER NOT NULL,
    sequence  INTEGER NOT NULL,
    reason    TEXT    NOT NULL,
    sentence  TEXT    NOT NULL,
    PRIMARY KEY (namespace, job, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX job_result_by_outcome ON job_result (namespace, job, outcome, number);

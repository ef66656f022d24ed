-- Where the log went on from an older state because an operator said so, with the seals on both sides of the gap.
CREATE TABLE rollback (
    number    INTEGER PRIMARY KEY,
    at        INTEGER NOT NULL,
    size      INTEGER NOT NULL,
    seal      TEXT    NOT NULL,
    lost_size INTEGER NOT NULL,
    lost_seal TEXT    NOT NULL
) STRICT;

CREATE TRIGGER rollback_is_not_changed BEFORE UPDATE ON rollback
BEGIN SELECT RAISE(ABORT, 'an accepted rollback is never changed'); END;

CREATE TRIGGER rollback_is_not_deleted BEFORE DELETE ON rollback
BEGIN SELECT RAISE(ABORT, 'an accepted rollback is never deleted'); END;

//! A consistent copy of the file, while the writing thread continues.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use redb::backends::FileBackend;
use redb::{Database, Key, ReadTransaction, ReadableTable as _, TableDefinition, Value, WriteTransaction};

use super::tables::{FILTERS, HEARD, IDENTITY, OUTBOX, QUEUE, RECEIVED, REMOVED, RETAINED, SESSIONS};

/// Bytes of the copy that are kept in memory until they are written.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// Copies every table into a new file, on disk when this returns. Blocks.
pub(super) fn copy(from: &ReadTransaction, path: &Path) -> Result<(), redb::Error> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    let target = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(FileBackend::new(file)?)?;
    let to = target.begin_write()?;
    copy_table(from, &to, IDENTITY)?;
    copy_table(from, &to, SESSIONS)?;
    copy_table(from, &to, FILTERS)?;
    copy_table(from, &to, QUEUE)?;
    copy_table(from, &to, REMOVED)?;
    copy_table(from, &to, RECEIVED)?;
    copy_table(from, &to, RETAINED)?;
    copy_table(from, &to, OUTBOX)?;
    copy_table(from, &to, HEARD)?;
    Ok(to.commit()?)
}

fn copy_table<K: Key + 'static, V: Value + 'static>(
    from: &ReadTransaction,
    to: &WriteTransaction,
    table: TableDefinition<K, V>,
) -> Result<(), redb::Error> {
    let mut target = to.open_table(table)?;
    for row in from.open_table(table)?.iter()? {
        let (key, value) = row?;
        target.insert(key.value(), value.value())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use redb::{ReadableDatabase as _, TableHandle as _};

    use super::*;

    fn names(transaction: &ReadTransaction) -> Vec<String> {
        let mut names: Vec<_> = transaction.list_tables().unwrap().map(|table| table.name().to_owned()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn no_table_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::create(folder.path().join("sessions.redb")).unwrap();
        super::super::tables::make(&database).unwrap();
        let path = folder.path().join("copy.redb");
        let from = database.begin_read().unwrap();
        copy(&from, &path).unwrap();
        let copied = Database::open(&path).unwrap();
        assert_eq!(names(&copied.begin_read().unwrap()), names(&from));
        assert_eq!(names(&from).len(), 9);
    }
}

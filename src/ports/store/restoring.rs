//! A restore into a database on a server, which is filled statement by statement.
//!
//! A row in a table of its own marks the database from the first statement of the restore to the last: no hub starts on
//! it. All that is in such a database is from the restore, so the next restore removes it and begins again. After that,
//! the row may say that earlier erasures have to be repeated first, by the hub that has the list of them.

use surrealdb::types::{SurrealValue, Variables, vars};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::backup::READ_BYTES;
use super::{Connection, Engine, Store, StoreError};
use crate::ports::progress::Counter;

/// The table of the mark.
const TABLE: &str = "restore";
/// The beginning of a line of an export with up to a thousand rows.
const INSERT: &[u8] = b"INSERT [";

/// What has to be done with a database before hubs start on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreState {
    /// The restore has to be repeated.
    Filling,
    /// The hub that the backup was restored to has to repeat erasures.
    Erasing,
}

#[derive(SurrealValue)]
#[surreal(crate = "surrealdb::types")]
struct MarkRow {
    token: String,
    erasing: bool,
}

impl Store {
    /// Marks an empty database, or one whose restore was interrupted, which is emptied. Returns false if it is not empty.
    pub async fn begin_restore(&self, token: &str) -> Result<bool, StoreError> {
        let tables = self.tables().await?;
        match self.restore_mark().await? {
            None if !tables.is_empty() => return Ok(false),
            None => {}
            Some(_) => {
                // Another restore that still runs fails from now on.
                self.mark_restore(token).await?;
                self.remove_tables(&tables).await?;
            }
        }
        self.mark_restore(token).await?;
        // A hub that started at this moment has either seen the mark, or its tables are seen here.
        let others = self.tables().await?.iter().any(|table| table != TABLE);
        if others {
            self.forget_restore().await?;
        }
        Ok(!others)
    }

    async fn mark_restore(&self, token: &str) -> Result<(), StoreError> {
        self.run("DEFINE TABLE IF NOT EXISTS restore SCHEMALESS", Variables::new()).await?;
        let sql = "UPSERT restore:mark SET token = $mark, erasing = false RETURN NONE";
        self.run(sql, vars! { mark: token.to_owned() }).await.map(drop)
    }

    async fn restore_mark(&self) -> Result<Option<MarkRow>, StoreError> {
        match self.run("SELECT token, erasing FROM ONLY restore:mark", Variables::new()).await {
            Ok(mut reply) => reply.optional::<MarkRow>(0),
            Err(StoreError::Database(error)) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the database is marked by the restore of this token.
    async fn is_marked_by(&self, token: &str) -> Result<bool, StoreError> {
        Ok(self.restore_mark().await?.is_some_and(|mark| mark.token == token))
    }

    /// The state of a restore into this database, unless it is complete.
    pub async fn restore_state(&self) -> Result<Option<RestoreState>, StoreError> {
        let mark = self.restore_mark().await?;
        Ok(mark.map(|mark| if mark.erasing { RestoreState::Erasing } else { RestoreState::Filling }))
    }

    /// Completes the restore of this token, if it is not complete. With `erasing`, the hub that has the list of erasures
    /// has to repeat them before others start.
    pub async fn end_restore(&self, token: &str, erasing: bool) -> Result<(), StoreError> {
        if !self.is_marked_by(token).await? {
            return Ok(());
        }
        match erasing {
            true => self.run("UPDATE restore:mark SET erasing = true RETURN NONE", Variables::new()).await.map(drop),
            false => self.forget_restore().await,
        }
    }

    /// Removes the mark of a restore: all is done.
    pub async fn forget_restore(&self) -> Result<(), StoreError> {
        self.run("REMOVE TABLE IF EXISTS restore", Variables::new()).await.map(drop)
    }

    /// Removes all that the restore of this token has put there.
    pub async fn undo_restore(&self, token: &str) -> Result<(), StoreError> {
        if !self.is_marked_by(token).await? {
            return Ok(());
        }
        let tables = self.tables().await?;
        self.remove_tables(&tables).await?;
        self.forget_restore().await
    }

    /// The names of all tables.
    async fn tables(&self) -> Result<Vec<String>, StoreError> {
        let mut reply = self.run("RETURN object::keys((INFO FOR DB).tables)", Variables::new()).await?;
        reply.rows::<String>(0)
    }

    /// Removes all tables but that of the mark.
    async fn remove_tables(&self, tables: &[String]) -> Result<(), StoreError> {
        for table in tables.iter().filter(|table| *table != TABLE) {
            let name = table.replace('\\', "\\\\").replace('`', "\\`");
            self.run_text(format!("REMOVE TABLE IF EXISTS `{name}`")).await?;
        }
        Ok(())
    }

    /// Executes the statements of an export, one after the other: those that define, and each line of rows. The mark of
    /// this token has to be there for each of them.
    pub(super) async fn import_statements(
        &self,
        file: tokio::fs::File,
        token: Option<&str>,
        counter: &Counter,
    ) -> Result<(), StoreError> {
        let mut file = BufReader::with_capacity(READ_BYTES, file);
        let (mut line, mut before) = (Vec::new(), Vec::new());
        loop {
            line.clear();
            let read = file.read_until(b'\n', &mut line).await?;
            let is_rows = line.starts_with(INSERT);
            if is_rows || read == 0 {
                self.import_text(std::mem::take(&mut before), token).await?;
            }
            if read == 0 {
                return Ok(());
            }
            match is_rows {
                true => self.import_text(std::mem::take(&mut line), token).await?,
                false => before.extend_from_slice(&line),
            }
            counter.add(read as u64);
        }
    }

    async fn import_text(&self, text: Vec<u8>, token: Option<&str>) -> Result<(), StoreError> {
        if text.trim_ascii().is_empty() {
            return Ok(());
        }
        if let Some(token) = token
            && !self.is_marked_by(token).await?
        {
            return Err(StoreError::Copy("another restore into this database has begun".into()));
        }
        let text = String::from_utf8(text).map_err(|_| StoreError::Copy("the export is not UTF-8".into()))?;
        self.run_text(format!("OPTION IMPORT;\n{text}")).await
    }

    /// Executes a text that is not one of this program's own. A server has as much time for it as for the queries of a
    /// start.
    async fn run_text(&self, text: String) -> Result<(), StoreError> {
        let engine = self.engine();
        let query = async {
            match &*engine {
                Engine::Embedded { database, .. } => Ok(database.query(text).await),
                Engine::Memory(database) | Engine::Server(Connection { database, .. }) => {
                    Ok(database.query(text).await)
                }
                Engine::Closed => Err(self.closed()),
            }
        };
        let results = self.answered_within(self.slow_limit(), &engine, query).await?;
        self.reply(&engine, results?).map(drop)
    }
}

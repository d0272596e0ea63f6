//! The only thread that changes the file.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redb::{Database, Durability, ReadableTable as _, Table as RedbTable};
use tokio::sync::{mpsc, oneshot};

use super::super::history::History;
use super::opened::Opened;
use super::{ENTRIES, FACTS, Facts, Job, LOG, MAX_GROUP, META, REVISION, Witness, engine, prepare};
use crate::{Commit, Event, Revision, StoreError, Table, Transaction, apply};
use kms_base::space::Space;

/// What is said when nothing is written for want of room.
const FULL: &str = "there is no room on the disk";
/// Who waits for a commit.
type Answer = oneshot::Sender<Result<Commit, StoreError>>;

/// How long after a file could not be opened again that is tried anew.
const ATTEMPTS: Duration = Duration::from_secs(1);
/// A disk that fails again and again is not told of more often.
const QUIET: Duration = Duration::from_secs(10);

/// The only writer of the file. Ends when the store is dropped.
pub(super) struct Writer {
    opened: Arc<Opened>,
    history: History,
    revision: Revision,
    /// What a commit would have changed of which it is not known whether it was carried out.
    doubtful: Vec<(Revision, Vec<Event>)>,
    /// When it was last tried to open the file again.
    attempted: Option<Instant>,
    /// When the log was last told that the file has failed.
    told: Option<Instant>,
    space: Option<Arc<Space>>,
    witness: Witness,
}

impl Writer {
    pub(super) fn new(
        opened: Arc<Opened>,
        (history, revision): (History, Revision),
        space: Option<Arc<Space>>,
        witness: Witness,
    ) -> Self {
        let doubtful = Vec::new();
        let (attempted, told) = (None, None);
        Self { opened, history, revision, doubtful, attempted, told, space, witness }
    }

    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut group = Vec::with_capacity(MAX_GROUP);
        while jobs.blocking_recv_many(&mut group, MAX_GROUP) > 0 {
            let usable = self.ensure_open().and_then(|()| self.ensure_room());
            let (mut transactions, mut answers) = (Vec::new(), Vec::new());
            for job in group.drain(..) {
                match job {
                    Job::Commit(transaction, answer) => {
                        transactions.push(transaction);
                        answers.push(answer);
                    }
                    Job::Facts(facts, answer) => {
                        let written = usable.clone().and_then(|()| {
                            self.opened.with(|database| write_facts(database, &facts))
                        });
                        let _ = answer.send(written);
                    }
                    Job::Mend => {}
                }
            }
            if !transactions.is_empty() {
                self.serve(usable, transactions, answers);
            }
            // Shows whether a change that was refused is in the file.
            let _ = self.ensure_open();
        }
    }

    fn serve(
        &mut self,
        usable: Result<(), StoreError>,
        transactions: Vec<Transaction>,
        answers: Vec<Answer>,
    ) {
        match usable.and_then(|()| self.write_group(transactions)) {
            Ok(commits) => {
                for (answer, commit) in answers.into_iter().zip(commits) {
                    // A caller that went away does not need its answer.
                    let _ = answer.send(Ok(commit));
                }
            }
            Err(error) => {
                tracing::error!(%error, "store commit failed");
                for answer in answers {
                    let _ = answer.send(Err(error.clone()));
                }
            }
        }
    }

    /// Opens the file again if it has failed.
    fn ensure_open(&mut self) -> Result<(), StoreError> {
        if !self.opened.has_failed() {
            return Ok(());
        }
        if self.attempted.is_some_and(|at| at.elapsed() < ATTEMPTS) {
            return self.opened.current().map(drop);
        }
        let is_news = self.told.is_none_or(|at| at.elapsed() > QUIET);
        if is_news && self.attempted.is_none() {
            self.told = Some(Instant::now());
            tracing::error!(
                "the file of the store has failed, and is opened again as soon as it can be"
            );
        }
        self.attempted = Some(Instant::now());
        let database = self.opened.open_again()?;
        let found = prepare(&database)?;
        let doubtful = std::mem::take(&mut self.doubtful);
        let changed = doubtful.last().is_some_and(|(last, _)| *last == found);
        if !changed && found != self.revision {
            let known = self.revision;
            self.doubtful = doubtful;
            return Err(engine(format!(
                "the file is at revision {}, and kmsd knows {}; restart kmsd",
                found.0, known.0
            )));
        }
        self.opened.put_back(database);
        self.attempted = None;
        if changed {
            self.revision = found;
            self.publish(doubtful);
        }
        if is_news {
            tracing::info!(revision = found.0, "the file of the store is open again");
        }
        Ok(())
    }

    fn ensure_room(&self) -> Result<(), StoreError> {
        let has_room = self.space.as_ref().is_none_or(|space| space.has_room_for_store());
        if has_room { Ok(()) } else { Err(engine(FULL)) }
    }

    /// Applies the transactions in order and makes them durable. On error either all or none are applied, and
    /// which it was shows when the file is opened again.
    fn write_group(&mut self, transactions: Vec<Transaction>) -> Result<Vec<Commit>, StoreError> {
        let current = self.opened.current()?;
        self.write(&current.database, transactions).map_err(|error| current.failed_with(&error))
    }

    fn write(
        &mut self,
        database: &Database,
        transactions: Vec<Transaction>,
    ) -> Result<Vec<Commit>, redb::Error> {
        let mut write = database.begin_write()?;
        write.set_durability(Durability::Immediate)?;
        let mut revision = self.revision;
        let mut commits = Vec::with_capacity(transactions.len());
        let mut changes = Vec::new();
        {
            let mut entries = Entries(write.open_table(ENTRIES)?);
            for transaction in transactions {
                let next = revision.next();
                commits.push(match apply(transaction, next, &mut entries)? {
                    None => Commit::Conflict,
                    Some(events) if events.is_empty() => Commit::Applied { revision },
                    Some(events) => {
                        revision = next;
                        changes.push((revision, events));
                        Commit::Applied { revision }
                    }
                });
            }
            write.open_table(META)?.insert(REVISION, revision.0)?;
        }
        if let Some(witness) = self.witness.get()
            && !changes.is_empty()
        {
            write.open_table(FACTS)?.insert(LOG, witness().as_slice())?;
        }
        if changes.is_empty() {
            write.abort()?;
        } else {
            self.doubtful = changes;
            write.commit()?;
            self.revision = revision;
            let changes = std::mem::take(&mut self.doubtful);
            self.publish(changes);
        }
        Ok(commits)
    }

    fn publish(&self, changes: Vec<(Revision, Vec<Event>)>) {
        for (revision, events) in changes {
            self.history.publish(revision, events);
        }
    }
}

fn write_facts(database: &Database, facts: &Facts) -> Result<(), redb::Error> {
    let mut write = database.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    {
        let mut table = write.open_table(FACTS)?;
        for (name, value) in facts {
            match value {
                Some(value) => drop(table.insert(name.as_str(), value.as_slice())?),
                None => drop(table.remove(name.as_str())?),
            }
        }
    }
    Ok(write.commit()?)
}

/// The table of entries inside a write transaction.
struct Entries<'t>(RedbTable<'t, &'static [u8], (u64, &'static [u8])>);

impl Table for Entries<'_> {
    type Error = redb::Error;

    fn revision(&self, key: &[u8]) -> Result<Option<Revision>, redb::Error> {
        Ok(self.0.get(key)?.map(|row| Revision(row.value().0)))
    }

    fn put(
        &mut self,
        key: &[u8],
        revision: Revision,
        value: &Arc<[u8]>,
    ) -> Result<(), redb::Error> {
        self.0.insert(key, (revision.0, &**value))?;
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool, redb::Error> {
        Ok(self.0.remove(key)?.is_some())
    }
}

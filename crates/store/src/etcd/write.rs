//! Writing: the one place from which anything is written to the state.

use etcd_client as etcd;
use tokio::time::Instant;

use super::{
    Shared,
    fault::Fault,
    keys::{self, Keys},
    leader::Fence,
    revision_of,
};
use crate::{Compare, Conflict, Op, Result, Revision, StoreError, TxnOutcome, txn::Txn};

/// What etcd made of a transaction.
#[derive(Debug)]
enum Answer {
    Committed(Revision),
    /// Its epoch was sealed.
    Void,
    /// The fence has fallen.
    Deposed,
    /// A compare did not hold.
    Conflict(Revision),
}

/// A test may have this fail.
fn point(what: &str, fault: impl FnOnce(String) -> Fault) -> Result<(), Fault> {
    accelnet_crash::point(|| what.to_owned()).map_err(|error| fault(error.to_string()))
}

impl Shared {
    /// Does it, or says why not. Made again where it is known that nothing was done.
    pub(super) async fn txn(
        &self,
        end: Instant,
        fence: Option<&Fence>,
        txn: Txn,
    ) -> Result<TxnOutcome> {
        let (compares, ops) = txn.into_parts();
        while Instant::now() < end {
            match self.answer(end, fence, &compares, &ops).await? {
                Answer::Committed(revision) => return Ok(TxnOutcome::Committed { revision }),
                Answer::Void => {}
                Answer::Deposed => {
                    fence.inspect(|fence| fence.fall());
                    return Err(StoreError::Deposed);
                }
                Answer::Conflict(revision) => {
                    let conflicts = self.conflicts(end, &compares, revision).await?;
                    if !conflicts.is_empty() {
                        return Ok(TxnOutcome::Conflict {
                            revision,
                            conflicts,
                        });
                    }
                    // What was there has been compacted since.
                }
            }
        }
        Err(self.members.error(Fault::NotDone(
            "the transaction lost against others until its deadline".to_owned(),
        )))
    }

    async fn answer(
        &self,
        end: Instant,
        fence: Option<&Fence>,
        compares: &[Compare],
        ops: &[Op],
    ) -> Result<Answer> {
        let settled = self.seals.settle(end, &self.members, &self.keys).await;
        let epoch = settled.map_err(|fault| self.members.error(fault))?;
        if fence.is_some_and(|fence| !fence.stands()) {
            return Err(StoreError::Deposed);
        }
        let seal = self.seals.name(&self.keys, epoch);
        let request = request(&self.keys, &seal, fence, compares, ops);
        point("commit to etcd", Fault::NotDone).map_err(|fault| self.members.error(fault))?;
        let sent = self.seals.sent(epoch);
        let answered = self
            .members
            .ask_once(end, |mut client| {
                let request = request.clone();
                async move { client.txn(request).await }
            })
            .await
            .and_then(|answer| understand(&answer, fence))
            .and_then(|answer| {
                point("hear that it is committed", Fault::Unknown)?;
                Ok(answer)
            });
        if !matches!(answered, Err(Fault::Unknown(_))) {
            sent.answered();
        }
        let answer = answered.map_err(|fault| self.members.write_error(fault))?;
        if let Answer::Committed(revision) = answer {
            // No notice: whoever holds the other end looks when this one is dropped.
            self.written.send_if_modified(|newest| {
                *newest = revision.max(*newest);
                false
            });
        }
        Ok(answer)
    }

    /// The compares that did not hold at a revision; empty if it is no longer kept.
    async fn conflicts(
        &self,
        end: Instant,
        compares: &[Compare],
        revision: Revision,
    ) -> Result<Vec<Conflict>> {
        let mut conflicts = Vec::new();
        for Compare { key, mod_revision } in compares {
            let found = match self.get(end, key, Some(revision)).await {
                Err(StoreError::Compacted { .. }) => return Ok(Vec::new()),
                found => found?,
            };
            let at = found
                .as_ref()
                .map_or(Revision::ABSENT, |kv| kv.mod_revision);
            if at != *mod_revision {
                let key = key.clone();
                conflicts.push(Conflict { key, found });
            }
        }
        Ok(conflicts)
    }
}

/// The transaction as etcd takes it. If it loses, it tells whether the seal is there, then what the
/// fence is.
fn request(
    keys: &Keys,
    seal: &str,
    fence: Option<&Fence>,
    compares: &[Compare],
    ops: &[Op],
) -> etcd::Txn {
    let absent = etcd::Compare::create_revision(seal, etcd::CompareOp::Equal, 0);
    let ours = compares.iter().map(|Compare { key, mod_revision }| {
        let number = keys::number(*mod_revision);
        etcd::Compare::mod_revision(keys.state(key), etcd::CompareOp::Equal, number)
    });
    let all: Vec<_> = std::iter::once(absent)
        .chain(fence.map(Fence::compare))
        .chain(ours)
        .collect();
    let ops: Vec<_> = ops
        .iter()
        .map(|op| match op {
            Op::Put { key, value } => etcd::TxnOp::put(keys.state(key), value.clone(), None),
            Op::Delete { key } => etcd::TxnOp::delete(keys.state(key), None),
        })
        .collect();
    let looks: Vec<_> = std::iter::once(etcd::TxnOp::get(seal, None))
        .chain(fence.map(Fence::look))
        .collect();
    etcd::Txn::new().when(all).and_then(ops).or_else(looks)
}

fn understand(answer: &etcd::TxnResponse, fence: Option<&Fence>) -> Result<Answer, Fault> {
    let revision = revision_of(answer.header())?;
    if answer.succeeded() {
        return Ok(Answer::Committed(revision));
    }
    let mut looks = answer.op_responses().into_iter();
    let mut look = || match looks.next() {
        Some(etcd::TxnOpResponse::Get(found)) => Ok(found),
        _ => Err(Fault::Unknown(
            "its answer is not to what was asked".to_owned(),
        )),
    };
    if !look()?.kvs().is_empty() {
        return Ok(Answer::Void);
    }
    if let Some(fence) = fence
        && !fence.stands_in(&look()?)
    {
        return Ok(Answer::Deposed);
    }
    Ok(Answer::Conflict(revision))
}

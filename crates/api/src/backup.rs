//! A backup of a cluster's state: what the file holds, and whether it is whole.
//!
//! ```text
//! {"accelnet_backup":1,"cluster":"…","taken":"…","version":"…","revision":42,"holds":["…"]}
//! {"key":"intents/compute","revision":7,"value":{"schema":1,…}}
//! …
//! {"end":{"items":17,"sha256":"…"}}
//! ```
//! One JSON object a line. The first says what it is, the last is the checksum of all lines before it: a file
//! without it is not whole, whatever was cut off. All is of one revision of the store.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Version of the file's form. A newer one is refused rather than misread.
pub const FORMAT: u32 = 1;
/// No line is longer: a value of the store has a mebibyte at most, and escapes may make it six times as long.
const LINE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupHeader {
    /// [`FORMAT`] of whoever wrote it.
    pub accelnet_backup: u32,
    /// The cluster's identity; none of a host that stands alone.
    pub cluster: Option<Uuid>,
    /// When it was taken, by the server's clock.
    pub taken: Timestamp,
    /// Version of the server.
    pub version: String,
    /// The store's revision that it shows.
    pub revision: u64,
    /// What is in it, in words.
    pub holds: Vec<String>,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackupItem {
    /// The key, without what all keys begin with.
    pub key: String,
    /// The store's revision that wrote it last.
    pub revision: u64,
    /// What is kept under it, with fields that this version does not know.
    pub value: serde_json::Value,
}

#[derive(Debug, Serialize, Deserialize)]
struct EndLine {
    end: End,
}

/// What the last line says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    items: u64,
    sha256: String,
}

/// A backup that was read and is whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Backup {
    /// Its first line.
    pub header: BackupHeader,
    /// What it holds, in the order of the keys.
    pub items: Vec<BackupItem>,
    /// Its checksum, by which it is known.
    pub sha256: String,
}

/// Why a file is no backup that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBackup {
    /// It is something else.
    #[error("it is no backup of accelnet")]
    Foreign,
    /// A newer version wrote it.
    #[error(
        "its form is {found}, this version knows none above {FORMAT}; use the version that wrote it or a newer one"
    )]
    Newer {
        /// Its form.
        found: u32,
    },
    /// Its end is missing.
    #[error("its end is missing: it was cut off, or was never written to its end")]
    Truncated,
    /// It is not what was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

/// Lines of a backup as they are written.
#[derive(Debug, Default)]
pub struct BackupWriter {
    sum: Sha256,
    items: u64,
}

impl BackupWriter {
    /// The first line.
    ///
    /// # Errors
    /// Never, in practice.
    pub fn header(&mut self, header: &BackupHeader) -> serde_json::Result<Vec<u8>> {
        self.line(header)
    }

    /// One key.
    ///
    /// # Errors
    /// Never, in practice.
    pub fn item(&mut self, item: &BackupItem) -> serde_json::Result<Vec<u8>> {
        self.items += 1;
        self.line(item)
    }

    /// The last line.
    ///
    /// # Errors
    /// Never, in practice.
    pub fn end(self) -> serde_json::Result<Vec<u8>> {
        let sha256 = hex(self.sum.clone());
        let items = self.items;
        let end = End { items, sha256 };
        Self::default().line(&EndLine { end })
    }

    fn line(&mut self, value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.sum.update(&line);
        Ok(line)
    }
}

fn hex(sum: Sha256) -> String {
    use std::fmt::Write;
    sum.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads a backup as it comes.
#[derive(Debug, Default)]
pub struct BackupReader {
    sum: Sha256,
    /// What came of a line that is not whole yet.
    part: Vec<u8>,
    header: Option<BackupHeader>,
    items: Vec<BackupItem>,
    count: u64,
    /// Items are checked and not kept.
    forgets: bool,
    end: Option<End>,
}

impl BackupReader {
    /// One that only checks: what it reads holds no items.
    pub fn checking() -> Self {
        Self {
            forgets: true,
            ..Self::default()
        }
    }

    /// Takes in what comes next.
    ///
    /// # Errors
    /// As soon as it is known that it cannot be used.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<(), BadBackup> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end + 1);
            bytes = rest;
            self.part.extend_from_slice(line);
            let line = std::mem::take(&mut self.part);
            self.line(&line)?;
        }
        self.part.extend_from_slice(bytes);
        if self.part.len() > LINE_BYTES_MAX {
            return Err(self.unlike("a line is too long"));
        }
        Ok(())
    }

    /// All has come.
    ///
    /// # Errors
    /// If it is not whole, or not what was written.
    pub fn finish(self) -> Result<Backup, BadBackup> {
        let (header, end) = match (self.header, self.end) {
            (Some(header), Some(end)) if self.part.is_empty() => (header, end),
            (Some(_), None) => return Err(BadBackup::Truncated),
            (Some(_), Some(_)) => {
                return Err(BadBackup::Damaged("something follows its end".to_owned()));
            }
            (None, _) => return Err(BadBackup::Foreign),
        };
        Ok(Backup {
            header,
            items: self.items,
            sha256: end.sha256,
        })
    }

    fn unlike(&self, why: &str) -> BadBackup {
        match self.header {
            Some(_) => BadBackup::Damaged(why.to_owned()),
            None => BadBackup::Foreign,
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), BadBackup> {
        #[derive(Deserialize)]
        struct Form {
            accelnet_backup: u32,
        }
        if self.end.is_some() {
            return Err(self.unlike("something follows its end"));
        }
        if self.header.is_none() {
            let form: Form = serde_json::from_slice(line).map_err(|_| BadBackup::Foreign)?;
            if form.accelnet_backup > FORMAT {
                let found = form.accelnet_backup;
                return Err(BadBackup::Newer { found });
            }
            let header = serde_json::from_slice(line).map_err(|_| BadBackup::Foreign)?;
            self.header = Some(header);
        } else if let Ok(EndLine { end }) = serde_json::from_slice(line) {
            let sum = hex(self.sum.clone());
            if (self.count, &sum) != (end.items, &end.sha256) {
                return Err(self.unlike("its checksum is not that of what it holds"));
            }
            self.end = Some(end);
            return Ok(());
        } else {
            let item = serde_json::from_slice(line);
            let item = item.map_err(|_| {
                let number = self.count + 2;
                self.unlike(&format!("line {number} cannot be read"))
            })?;
            self.count += 1;
            if !self.forgets {
                self.items.push(item);
            }
        }
        self.sum.update(line);
        Ok(())
    }
}

impl Backup {
    /// Reads one that is there as a whole.
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn read(bytes: &[u8]) -> Result<Self, BadBackup> {
        let mut reader = BackupReader::default();
        reader.take(bytes)?;
        reader.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Vec<u8> {
        let mut writer = BackupWriter::default();
        let header = BackupHeader {
            accelnet_backup: FORMAT,
            cluster: Some(Uuid::from_u128(1)),
            taken: Timestamp::UNIX_EPOCH,
            version: "0".to_owned(),
            revision: 7,
            holds: vec!["all".to_owned()],
        };
        let mut bytes = writer.header(&header).unwrap();
        for number in 0..3 {
            let item = BackupItem {
                key: format!("intents/{number}"),
                revision: number,
                value: serde_json::json!({"schema": 1, "unknown": [u64::MAX, "ä\n"]}),
            };
            bytes.extend(writer.item(&item).unwrap());
        }
        bytes.extend(writer.end().unwrap());
        bytes
    }

    #[test]
    fn what_was_written_is_read_however_it_comes() {
        let bytes = written();
        let whole = Backup::read(&bytes).unwrap();
        assert_eq!(whole.items.len(), 3);
        let mut reader = BackupReader::default();
        for byte in &bytes {
            reader.take(&[*byte]).unwrap();
        }
        assert_eq!(reader.finish(), Ok(whole.clone()));
        let mut checking = BackupReader::checking();
        checking.take(&bytes).unwrap();
        let checked = checking.finish().unwrap();
        assert!(checked.items.is_empty() && checked.sha256 == whole.sha256);
    }

    #[test]
    fn each_end_that_comes_too_early_and_each_bit_that_is_not_right_is_seen() {
        let bytes = written();
        for end in 0..bytes.len() {
            assert!(Backup::read(&bytes[..end]).is_err(), "cut off at {end}");
        }
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[place] ^= 1 << bit;
                // Of the last line, where the checksum is in hexadecimal digits, too.
                assert!(Backup::read(&flipped).is_err(), "bit {bit} of byte {place}");
            }
        }
        let twice = [bytes.clone(), bytes].concat();
        assert!(matches!(Backup::read(&twice), Err(BadBackup::Damaged(_))));
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        let bytes = written();
        let cut = Backup::read(&bytes[..bytes.len() / 2]);
        assert_eq!(cut, Err(BadBackup::Truncated));
        for foreign in [
            &b""[..],
            b"SQLite format 3\0",
            b"{}\n",
            b"\n\n",
            b"[1]\n{}\n",
        ] {
            assert_eq!(Backup::read(foreign), Err(BadBackup::Foreign));
        }
        let text = String::from_utf8(bytes).unwrap();
        let newer = text.replace("\"accelnet_backup\":1", "\"accelnet_backup\":2");
        let newer = Backup::read(newer.as_bytes()).unwrap_err();
        assert_eq!(newer, BadBackup::Newer { found: 2 });
        let changed = Backup::read(text.replace("intents/1", "intents/9").as_bytes());
        assert!(matches!(changed, Err(BadBackup::Damaged(_))), "{changed:?}");
    }
}

//! What a cluster's directory says of the cluster, so that the next start finds the same one.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};

/// `cluster.json` of the directory.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClusterFile {
    /// Raised when the file's meaning changes.
    version: u32,
    /// Told apart from every other cluster by this number.
    pub(crate) cluster_id: u64,
    /// How many nodes it has.
    pub(crate) nodes: u64,
}

const VERSION: u32 = 1;

impl ClusterFile {
    /// Reads the file of `dir`, or makes it, and the directory, for a new cluster of `nodes`.
    pub(crate) fn open_or_create(dir: &Path, nodes: u64) -> anyhow::Result<Self> {
        let path = path(dir);
        if path.exists() {
            let text =
                fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let file: Self = serde_json::from_slice(&text)
                .with_context(|| format!("{} is damaged or of a newer version", path.display()))?;
            ensure!(file.version == VERSION, "{} is of version {}", path.display(), file.version);
            ensure!(
                file.nodes == nodes,
                "{} holds a cluster of {} nodes; start it with --nodes {}, or use another --dir",
                dir.display(),
                file.nodes,
                file.nodes
            );
            return Ok(file);
        }
        let is_used = fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
        if is_used {
            bail!("{} is not empty and holds no cluster; use another --dir", dir.display());
        }
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let file = Self { version: VERSION, cluster_id: new_id(), nodes };
        file.write(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(file)
    }

    /// Written aside, synced, renamed: a crash leaves a whole file or none.
    fn write(&self, path: &Path) -> anyhow::Result<()> {
        let aside = path.with_extension("tmp");
        let mut file = fs::File::create(&aside)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        let dir = path.parent().unwrap_or(Path::new("."));
        fs::File::open(dir)?.sync_all()?;
        Ok(())
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("cluster.json")
}

fn new_id() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    // Seeded by the system; 0 would mean "any cluster".
    RandomState::new().build_hasher().finish().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_start_finds_the_same_cluster() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("data");
        let first = ClusterFile::open_or_create(&dir, 3).unwrap();
        assert_eq!(ClusterFile::open_or_create(&dir, 3).unwrap(), first);
        let other = ClusterFile::open_or_create(&dir, 5).unwrap_err().to_string();
        assert!(other.contains("--nodes 3"), "{other}");
    }

    #[test]
    fn a_directory_of_something_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("letter.txt"), "dear").unwrap();
        assert!(ClusterFile::open_or_create(dir.path(), 3).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was added");
    }
}

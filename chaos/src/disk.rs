//! Small file systems in memory for the nodes' data, which can be filled and emptied.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

/// Room for a few segments of the log and a snapshot.
const MIB: u32 = 96;

/// A mounted file system, empty at first; gone, with what it holds, when this is dropped.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one at `dir`, which is made.
    pub(crate) fn mount(dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir)?;
        let options = format!("size={MIB}m");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "oarlock-chaos"])
            .arg(dir)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .context("there is no `mount`")?;
        ensure!(mount.success(), "cannot mount a file system at {}", dir.display());
        Ok(Self(dir.to_owned()))
    }

    /// Takes all the room there is.
    pub(crate) fn fill(&self) -> anyhow::Result<()> {
        let mut filler = File::create(self.filler())?;
        let zeros = vec![0; 64 << 10];
        while filler.write_all(&zeros).is_ok() {}
        Ok(())
    }

    /// Gives the room back.
    pub(crate) fn empty(&self) -> anyhow::Result<()> {
        fs::remove_file(self.filler()).context("what filled the disk is gone")
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process may still have a file open there.
        let umount = Command::new("umount").arg("-l").arg(&self.0).status();
        if !umount.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.0.display());
        }
    }
}

/// Whether this process may mount file systems.
pub(crate) fn can_mount(dir: &Path) -> bool {
    let probe = dir.join("mount-probe");
    let can = SmallDisk::mount(&probe).is_ok();
    drop(fs::remove_dir(&probe));
    can
}

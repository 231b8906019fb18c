//! Ctrl-C and SIGTERM as messages.

use std::io;

use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// A message for each request to stop; further ones, while the first is being carried out, too.
pub(crate) fn stop_requests() -> io::Result<Receiver<()>> {
    let (sender, receiver) = bounded(8);
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            // A full channel holds requests enough.
            let _ = sender.try_send(());
        }
    })?;
    Ok(receiver)
}

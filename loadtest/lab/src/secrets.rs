//! `lab secrets`: makes the passwords, keys and tokens that a cluster in containers shares. Which ones there are is the
//! business of [`cluster`](cluster).

use std::path::PathBuf;

use crate::exit::{Exit, Failure};
use crate::output;
use cluster::secrets::make_missing;

/// Make the secrets of a cluster in containers: what the folder lacks, never what it has.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder; made where it is missing.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// `lab secrets`
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let made = make_missing(&args.dir)?;
    let dir = args.dir.display();
    if made.is_empty() {
        output::print(format_args!("{dir} has every secret already.\n"))?;
    } else {
        output::print(format_args!("Made in {dir}: {}.\n", made.join(", ")))?;
    }
    Ok(Exit::Held)
}

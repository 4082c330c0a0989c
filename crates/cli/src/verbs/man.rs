//! `accelnet man`: manual pages, made from the same types as the help.

use std::path::Path;

use accelnet_model::{Code, Problem, problem::exit};
use clap::CommandFactory;

use crate::{args::Args, call::Ended, output};

/// Prints the main page, or writes the pages of all commands into a directory.
pub fn run(directory: Option<&Path>) -> Ended {
    match directory {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Args::command())
                .render(&mut page)
                .map_err(|error| Problem::new(Code::Internal, format!("{error}.")))?;
            output::raw(&String::from_utf8_lossy(&page));
        }
        Some(directory) => {
            let written = std::fs::create_dir_all(directory)
                .and_then(|()| clap_mangen::generate_to(Args::command(), directory));
            written.map_err(|error| {
                let text = format!(
                    "The pages cannot be written to {}: {error}.",
                    directory.display()
                );
                Problem::new(Code::InvalidArgument, text)
                    .with_cure("Name a directory that you may write to.")
            })?;
        }
    }
    Ok(exit::OK)
}

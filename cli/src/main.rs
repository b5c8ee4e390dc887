//! `gleamflow`, the command line: parses a request, carries it out, maps the outcome to an exit code. Nothing else.

mod cached;
mod closed_output;
mod cluster;
mod command;
mod failure;
mod flow;
mod heap;
mod interrupt;
mod logging;
mod machine;
mod open_files;
mod operator;
mod output;
mod params;
mod progress;
mod report;
mod size;
mod summary;
mod table;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let request = match command::Request::try_parse() {
        Ok(request) => request,
        Err(told) => return output::clap_told(&told),
    };
    logging::start();
    open_files::allow_many();
    match request.command.execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

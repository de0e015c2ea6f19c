//! The `dgfs` command.

mod cli;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = cli::Cli::parse_from(cli::arguments());
    env_logger::Builder::new()
        .filter_level(cli.log_level())
        .parse_default_env()
        .format_timestamp(cli.log_time())
        .init();
    match cli.run() {
        Ok(code) => code,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            cli::complain(&error);
            cli::FAILED.into()
        }
    }
}

//! `glimpse completions` and `glimpse man`.

use std::fs;
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory as _};

use crate::args::Arguments;
use crate::failure::{CommandResult, Failure};
use crate::output::{print_line, print_note};

/// `glimpse completions`.
pub(crate) fn print_completions(shell: clap_complete::Shell) -> CommandResult<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "glimpse", &mut text);
    print_line(String::from_utf8_lossy(&text).trim_end())
}

/// `glimpse man`: the page of the program on standard output, or those of all commands in a folder.
pub(crate) fn print_man_page(folder: Option<&Path>) -> CommandResult<()> {
    let mut command = Arguments::command();
    command.build();
    let Some(folder) = folder else {
        let page = render(&command).map_err(|error| Failure::io("cannot write the man page", &error))?;
        return print_line(String::from_utf8_lossy(&page).trim_end());
    };
    let count = fs::create_dir_all(folder)
        .and_then(|()| write_pages(&command, "glimpse", folder))
        .map_err(|error| Failure::io(&format!("cannot write to {}", folder.display()), &error))?;
    print_note(format!("{count} man pages in {}", folder.display()));
    Ok(())
}

fn render(command: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    Ok(page)
}

/// Writes the page of a command and those of its subcommands: `glimpse.1`, `glimpse-ls.1` and so on.
fn write_pages(command: &Command, name: &str, folder: &Path) -> io::Result<usize> {
    fs::write(folder.join(format!("{name}.1")), render(&command.clone().name(name.to_owned()))?)?;
    let mut count = 1;
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        count += write_pages(inner, &format!("{name}-{}", inner.get_name()), folder)?;
    }
    Ok(count)
}

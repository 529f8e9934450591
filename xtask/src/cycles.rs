//! Finds import cycles between the modules of each crate: sets of files that all import one another.
//!
//! A module is a file. Imports between a module and its own descendants are no cycle: a parent declares and re-exports
//! its children. Tests and the tokens of macro calls are not read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, UseTree};

/// The crates that are read, by their folders at the top of the repository.
const CRATES: [&str; 9] =
    ["contract", "media", "edge", "backend", "doctor", "cli", "local", "tests", "xtask"];

/// The path of a module below the root of its crate. Empty for the root.
type ModulePath = Vec<String>;
/// Each module and the modules that it imports.
type ImportGraph = BTreeMap<ModulePath, BTreeSet<ModulePath>>;

/// The cycles of all crates, one line each. Empty if there are none.
pub(crate) fn find_all(root: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for name in CRATES {
        let graph = import_graph(&root.join(name).join("src"))?;
        for cycle in find_cycles(&graph) {
            let members: Vec<String> = cycle.iter().map(|module| module.join("::")).collect();
            lines.push(format!("{name}: {}", members.join(", ")));
        }
    }
    Ok(lines)
}

/// Reads the imports of every file below `source`.
fn import_graph(source: &Path) -> Result<ImportGraph> {
    let mut files = Vec::new();
    list_modules(source, &mut Vec::new(), &mut files)?;
    let modules: BTreeSet<ModulePath> = files.iter().map(|(module, _)| module.clone()).collect();
    let mut graph = ImportGraph::new();
    for (module, path) in files {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let file = syn::parse_file(&text).with_context(|| format!("cannot parse {}", path.display()))?;
        let mut imports = Imports { module: &module, depth: 0, paths: Vec::new() };
        imports.visit_file(&file);
        let imported = imports.paths.iter().filter_map(|path| owner(&modules, path));
        let others = imported.filter(|other| !other.starts_with(&module) && !module.starts_with(other));
        let others = others.cloned().collect();
        graph.insert(module, others);
    }
    Ok(graph)
}

/// The files of a crate with their module paths, except programs below `bin` and files of tests.
fn list_modules(
    folder: &Path,
    parent: &mut ModulePath,
    files: &mut Vec<(ModulePath, PathBuf)>,
) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "bin" {
                parent.push(name);
                list_modules(&path, parent, files)?;
                parent.pop();
            }
        } else if path.extension().is_some_and(|ending| ending == "rs")
            && !["main", "tests", "testing"].contains(&name.as_str())
        {
            let mut module = parent.clone();
            if name != "mod" && name != "lib" {
                module.push(name);
            }
            files.push((module, path));
        }
    }
    Ok(())
}

/// The module that an absolute path leads into: the longest beginning that is a module.
fn owner<'a>(modules: &'a BTreeSet<ModulePath>, path: &[String]) -> Option<&'a ModulePath> {
    (0..=path.len()).rev().find_map(|length| modules.get(&path[..length]))
}

/// Collects the paths into the own crate that one file names, made absolute.
struct Imports<'a> {
    module: &'a [String],
    /// How many inline modules the visited item is in.
    depth: usize,
    paths: Vec<ModulePath>,
}

impl Imports<'_> {
    fn add(&mut self, segments: &[String]) {
        let Some(first) = segments.first() else { return };
        let supers = segments.iter().take_while(|segment| *segment == "super").count();
        let (base, rest) = match first.as_str() {
            "crate" => (&[][..], &segments[1..]),
            "self" if self.depth == 0 => (self.module, &segments[1..]),
            "super" if supers >= self.depth => {
                let Some(kept) = self.module.len().checked_sub(supers - self.depth) else { return };
                (&self.module[..kept], &segments[supers..])
            }
            _ => return,
        };
        self.paths.push([base, rest].concat());
    }

    fn add_tree(&mut self, parents: &mut Vec<String>, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => {
                parents.push(path.ident.to_string());
                self.add_tree(parents, &path.tree);
                parents.pop();
            }
            UseTree::Group(group) => group.items.iter().for_each(|item| self.add_tree(parents, item)),
            UseTree::Name(name) => self.add(&[&parents[..], &[name.ident.to_string()]].concat()),
            UseTree::Rename(name) => self.add(&[&parents[..], &[name.ident.to_string()]].concat()),
            UseTree::Glob(_) => self.add(parents),
        }
    }
}

impl<'ast> Visit<'ast> for Imports<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.depth += 1;
        visit::visit_item_mod(self, item);
        self.depth -= 1;
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.add_tree(&mut Vec::new(), &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.add(&path.segments.iter().map(|segment| segment.ident.to_string()).collect::<Vec<_>>());
        visit::visit_path(self, path);
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Fn(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether an item has `#[cfg(test)]`.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
    })
}

/// The strongly connected components of more than one module: Tarjan's algorithm.
fn find_cycles(graph: &ImportGraph) -> Vec<Vec<ModulePath>> {
    let mut search = Search { graph, indices: BTreeMap::new(), stack: Vec::new(), cycles: vec![] };
    for module in graph.keys() {
        if !search.indices.contains_key(module) {
            search.visit(module);
        }
    }
    search.cycles
}

struct Search<'a> {
    graph: &'a ImportGraph,
    indices: BTreeMap<&'a ModulePath, usize>,
    stack: Vec<&'a ModulePath>,
    cycles: Vec<Vec<ModulePath>>,
}

impl<'a> Search<'a> {
    /// Visits a module and returns the lowest index that it reaches on the stack.
    fn visit(&mut self, module: &'a ModulePath) -> usize {
        let index = self.indices.len();
        self.indices.insert(module, index);
        self.stack.push(module);
        let mut low = index;
        for import in self.graph.get(module).into_iter().flatten() {
            let reached = match self.indices.get(import) {
                None => self.visit(import),
                Some(index) if self.stack.contains(&import) => *index,
                Some(_) => continue,
            };
            low = low.min(reached);
        }
        if low == index {
            let start = self.stack.iter().rposition(|member| *member == module).unwrap_or_default();
            let members: Vec<ModulePath> = self.stack.drain(start..).cloned().collect();
            if members.len() > 1 {
                self.cycles.push(members);
            }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph_of(edges: &[(&str, &[&str])]) -> ImportGraph {
        let path = |name: &str| vec![name.to_owned()];
        edges.iter().map(|(from, to)| (path(from), to.iter().map(|name| path(name)).collect())).collect()
    }

    #[test]
    fn finds_cycles_of_two_and_three_modules() {
        let graph = graph_of(&[
            ("a", &["b"]),
            ("b", &["a", "c"]),
            ("c", &["d"]),
            ("d", &["e"]),
            ("e", &["c"]),
            ("f", &["a", "e"]),
        ]);
        let sizes: Vec<usize> = find_cycles(&graph).iter().map(Vec::len).collect();
        assert_eq!(sizes, [3, 2]);
    }

    #[test]
    fn reports_no_cycle_in_a_tree() {
        assert!(find_cycles(&graph_of(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])])).is_empty());
    }

    #[test]
    fn resolves_paths_and_skips_tests() {
        let text = "use crate::{a::B, c::{self, D}};\nuse super::e::F;\nfn f() { crate::g::h(); self::i::j(); }\n\
                    #[cfg(test)]\nmod tests { use crate::k::L; use super::*; }\nmod inline { use super::m::N; }";
        let module = ["x".to_owned(), "y".to_owned()];
        let mut imports = Imports { module: &module, depth: 0, paths: Vec::new() };
        imports.visit_file(&syn::parse_str(text).unwrap());
        let found: BTreeSet<String> = imports.paths.iter().map(|path| path.join("::")).collect();
        let expected = ["a::B", "c", "c::D", "x::e::F", "g::h", "x::y::i::j", "x::y::m::N"];
        let is_there = |name: &&str| found.contains(*name) || found.contains(&format!("{name}::self"));
        assert!(expected.iter().all(is_there), "{found:?}");
        assert!(!found.iter().any(|name| name.contains('k') && name.contains('L')), "{found:?}");
    }
}

//! No circle of files, and no type name in more than two modules of a crate.
//!
//! A file takes a name from the file that defines it, whatever re-exports stand between. What a file takes from the `mod.rs` around it is
//! no arrow: a module and its parts are one story.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, assert_none, sources};

type ModulePath = Vec<String>;

/// A `use` of one name: its path as written, the name that it has here, and whether it is passed on.
struct Import {
    path: Vec<String>,
    name: String,
    is_public: bool,
}

/// A file as the graph sees it.
struct Module {
    file: String,
    imports: Vec<Import>,
    code: String,
    definitions: BTreeSet<String>,
}

/// The files of one crate, by their module paths.
struct Crate(BTreeMap<ModulePath, Module>);

#[test]
fn no_files_form_a_circle() {
    assert_none(&circles_of_all(&sources()));
}

#[test]
fn no_type_name_stands_in_more_than_two_modules_of_a_crate() {
    assert_none(&names_of_all(&sources()));
}

#[test]
fn a_circle_is_found_through_a_re_export_and_a_straight_line_is_none() {
    let parent = "mod one;\nmod two;\npub use one::One;\npub use two::Two;\nfn of_both() -> (One, Two) { todo() }";
    let file = |name: &str, text: &str| Source::made_up(&format!("sts-server/src/{name}.rs"), text);
    let circle = [
        file("room/mod", parent),
        file("room/one", "use super::Two;\npub struct One;"),
        file("room/two", "pub struct Two;\nfn f(one: &crate::room::One) {}"),
    ];
    assert_eq!(circles_of_all(&circle), ["sts-server/src/room/one.rs, sts-server/src/room/two.rs"]);
    let line = [
        file("room/mod", parent),
        file("room/one", "use super::{Two, of_both};\npub struct One;"),
        file("room/two", "pub struct Two;"),
    ];
    assert!(circles_of_all(&line).is_empty());
    let thrice: Vec<Source> = ["a", "b", "c"].map(|name| file(name, "pub(crate) enum State {\n}")).into();
    assert_eq!(names_of_all(&thrice).len(), 1);
    assert!(names_of_all(&thrice[1..]).is_empty());
}

fn circles_of_all(files: &[Source]) -> Vec<String> {
    crate_names(files).iter().flat_map(|name| Crate::read(name, files).circles()).collect()
}

fn crate_names(files: &[Source]) -> BTreeSet<String> {
    files.iter().filter_map(|file| file.path.split('/').next()).map(str::to_owned).collect()
}

/// The type names that stand in three files of a crate or more, each with its files.
fn names_of_all(files: &[Source]) -> Vec<String> {
    let mut found: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for file in files {
        let crate_name = file.path.split('/').next().unwrap_or_default();
        let names: BTreeSet<String> =
            file.code().filter_map(|(_, line)| defined(line, &["struct", "enum", "trait"])).collect();
        for name in names {
            found.entry((crate_name.to_owned(), name)).or_default().push(file.path.clone());
        }
    }
    let often = found.into_iter().filter(|(_, files)| files.len() > 2);
    often.map(|((crate_name, name), files)| format!("{crate_name}: {name} in {}", files.join(", "))).collect()
}

/// The name that a line defines with one of these words.
fn defined(line: &str, words: &[&str]) -> Option<String> {
    let mut tokens = line.split_whitespace().skip_while(|token| {
        token.starts_with("pub")
            || token.ends_with(')')
            || ["async", "unsafe", "extern", "const"].contains(token) && words.contains(&"fn")
    });
    let first = tokens.next()?;
    if !words.contains(&first) {
        return None;
    }
    let name: String = tokens.next()?.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect();
    (!name.is_empty()).then_some(name)
}

impl Crate {
    fn read(name: &str, files: &[Source]) -> Self {
        let modules = files.iter().filter_map(|file| {
            let (_, path) =
                file.module_of(name).or_else(|| file.path.ends_with("/src/lib.rs").then_some(("lib", vec!["lib"])))?;
            let path: ModulePath =
                if path == ["lib"] { Vec::new() } else { path.into_iter().map(str::to_owned).collect() };
            (path != ["main"]).then(|| (path, Module::read(file)))
        });
        Self(modules.collect())
    }

    /// The module path that a written path means within `module`; `None` for a path out of the crate.
    fn absolute(&self, module: &[String], written: &[String]) -> Option<ModulePath> {
        let (first, rest) = written.split_first()?;
        let mut path: ModulePath = match first.as_str() {
            "crate" => Vec::new(),
            "self" => module.to_vec(),
            "super" => module.split_last()?.1.to_vec(),
            name => {
                let child: ModulePath = module.iter().cloned().chain([name.to_owned()]).collect();
                return self.0.contains_key(&child).then(|| child.into_iter().chain(rest.iter().cloned()).collect());
            }
        };
        for name in rest {
            if name == "super" {
                path.pop();
            } else {
                path.push(name.clone());
            }
        }
        Some(path)
    }

    /// The module that defines what a path names.
    fn home(&self, path: &[String], seen: &mut BTreeSet<ModulePath>) -> ModulePath {
        let module = (0..=path.len()).rev().map(|length| &path[..length]).find(|module| self.0.contains_key(*module));
        let module = module.unwrap_or_default().to_vec();
        let (Some(name), Some(known)) = (path.get(module.len()), self.0.get(&module)) else { return module };
        if known.definitions.contains(name) || !seen.insert(path.to_vec()) {
            return module;
        }
        let import = known.imports.iter().find(|import| import.name == *name);
        match import.and_then(|import| self.absolute(&module, &import.path)) {
            Some(next) => self.home(&next, seen),
            None => module,
        }
    }

    /// The modules that a module takes names from.
    fn arrows(&self, path: &ModulePath, module: &Module) -> BTreeSet<ModulePath> {
        let mut named = Vec::new();
        let mut rooms: BTreeMap<&str, ModulePath> = BTreeMap::new();
        for import in &module.imports {
            let Some(target) = self.absolute(path, &import.path) else { continue };
            if self.0.contains_key(&target) {
                rooms.insert(&import.name, target);
            } else if !import.is_public {
                named.push(target);
            }
        }
        for written in written_paths(&module.code) {
            match written.first().and_then(|first| rooms.get(first.as_str())) {
                Some(room) => named.push(room.iter().chain(&written[1..]).cloned().collect()),
                None => named.extend(self.absolute(path, &written)),
            }
        }
        let homes = named.iter().map(|named| self.home(named, &mut BTreeSet::new()));
        homes.filter(|home| !path.starts_with(home)).collect()
    }

    /// The sets of files each of which leads to all others of the set.
    fn circles(&self) -> Vec<String> {
        let arrows: BTreeMap<&ModulePath, BTreeSet<ModulePath>> =
            self.0.iter().map(|(path, module)| (path, self.arrows(path, module))).collect();
        let reached = |from: &ModulePath| {
            let (mut found, mut next) = (BTreeSet::new(), vec![from.clone()]);
            while let Some(path) = next.pop() {
                next.extend(arrows.get(&path).into_iter().flatten().filter(|to| found.insert((*to).clone())).cloned());
            }
            found
        };
        let reached: BTreeMap<&ModulePath, BTreeSet<ModulePath>> =
            self.0.keys().map(|path| (path, reached(path))).collect();
        let circles: BTreeSet<Vec<&str>> = self
            .0
            .keys()
            .filter(|path| reached[path].contains(*path))
            .map(|path| {
                let members = reached[path].iter().filter(|other| reached[other].contains(path));
                members.map(|member| self.0[member].file.as_str()).collect()
            })
            .collect();
        circles.into_iter().map(|files| files.join(", ")).collect()
    }
}

impl Module {
    fn read(file: &Source) -> Self {
        let lines: Vec<&str> = file.code().map(|(_, line)| line).collect();
        let (mut imports, mut code, mut tree) = (Vec::new(), String::new(), None::<(bool, String)>);
        for line in &lines {
            if tree.is_none() {
                let (visibility, rest) = line.split_once("use ").unwrap_or(("none", ""));
                if visibility.is_empty() || visibility.starts_with("pub") && visibility.ends_with(' ') {
                    tree = Some((visibility.starts_with("pub"), rest.to_owned()));
                } else {
                    code.push_str(line);
                    code.push('\n');
                }
            } else if let Some((_, text)) = &mut tree {
                text.push_str(line);
            }
            if let Some((is_public, text)) = tree.take_if(|(_, text)| text.ends_with(';')) {
                add_imports(&mut imports, &[], text.trim_end_matches(';'), is_public);
            }
        }
        let words = ["struct", "enum", "trait", "type", "fn", "const", "static"];
        let definitions = lines
            .iter()
            .filter_map(|line| defined(line, &words).or_else(|| defined(line, &["const", "static"])))
            .collect();
        Self { file: file.path.clone(), imports, code, definitions }
    }
}

/// Adds the imports of a tree such as `crate::storage::{self, Store, rows::{EntryRow}}`.
fn add_imports(imports: &mut Vec<Import>, around: &[String], tree: &str, is_public: bool) {
    let segments = |path: &str| -> Vec<String> {
        let own = path.split("::").map(str::trim).filter(|segment| !segment.is_empty()).map(str::to_owned);
        around.iter().cloned().chain(own).collect()
    };
    if let Some((head, inner)) = tree.split_once('{') {
        let head = segments(head);
        let inner = inner.trim().strip_suffix('}').unwrap_or(inner);
        for part in top_level_parts(inner) {
            add_imports(imports, &head, &part, is_public);
        }
        return;
    }
    let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias.trim())));
    let mut path = segments(path);
    path.pop_if(|last| last == "self" && !around.is_empty());
    let Some(last) = path.last().cloned() else { return };
    imports.push(Import { path, name: alias.map_or(last, str::to_owned), is_public });
}

/// The parts of a list between its commas, those within braces left whole.
fn top_level_parts(list: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0_usize);
    for char in list.chars() {
        match char {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if char == ',' && depth == 0 {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(char);
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts.into_iter().map(|part| part.trim().to_owned()).collect()
}

/// The paths of two segments or more that stand in the code.
fn written_paths(code: &str) -> Vec<Vec<String>> {
    let is_path = |char: char| char.is_alphanumeric() || char == '_' || char == ':';
    let paths = code.split(|char| !is_path(char)).filter(|text| text.contains("::") && !text.starts_with(':'));
    paths.map(|text| text.split("::").filter(|segment| !segment.is_empty()).map(str::to_owned).collect()).collect()
}

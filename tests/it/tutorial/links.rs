//! Every link between pages leads somewhere, and every page is in the index.

use std::fs;
use std::path::{Path, PathBuf};

/// The folders of pages.
const FOLDERS: [&str; 11] = [
    "",
    "docs",
    "python",
    "sts-agent",
    "sts-client",
    "typescript",
    "examples/agent-graph",
    "examples/first-agent",
    "examples/python",
    "examples/secure-message",
    "examples/typescript",
];

/// The paths of all pages, within the repository.
pub(super) fn all_pages() -> Vec<String> {
    let pages = FOLDERS.iter().flat_map(|folder| pages(&root().join(folder)));
    let within = |page: PathBuf| page.strip_prefix(root()).ok().and_then(Path::to_str).expect("UTF-8").to_owned();
    pages.map(within).collect()
}

#[test]
fn every_link_of_a_page_leads_to_a_file_and_a_heading() {
    let pages: Vec<PathBuf> = FOLDERS.iter().flat_map(|folder| pages(&root().join(folder))).collect();
    assert!(pages.len() > 25, "{pages:?}");
    let mut broken = Vec::new();
    for page in &pages {
        let text = read(page);
        for link in links(&text).filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.clone() } else { page.parent().expect("a folder").join(path) };
            let is_there =
                target.exists() && (heading.is_empty() || headings(&read(&target)).any(|one| one == heading));
            if !is_there {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_page_of_docs_is_in_the_index_and_in_the_book() {
    let docs = root().join("docs");
    let [index, summary] = ["README.md", "SUMMARY.md"].map(|name| read(&docs.join(name)));
    for page in pages(&docs) {
        let name = page.file_name().and_then(|name| name.to_str()).expect("UTF-8");
        if !["README.md", "SUMMARY.md"].contains(&name) {
            assert!(links(&index).any(|link| link == name), "docs/README.md does not list {name}");
            assert!(links(&summary).any(|link| link == name), "docs/SUMMARY.md does not list {name}");
        }
    }
}

#[test]
fn the_book_has_every_page_that_its_pages_link_to() {
    let docs = root().join("docs");
    let summary = read(&docs.join("SUMMARY.md"));
    let chapters: Vec<PathBuf> =
        links(&summary).map(|link| docs.join(link).canonicalize().expect("a chapter")).collect();
    let mut missing = Vec::new();
    for chapter in &chapters {
        for link in links(&read(chapter))
            .filter(|link| !link.contains("://") && !link.starts_with('#') && !link.starts_with("mailto:"))
        {
            let path = link.split('#').next().unwrap_or_default();
            let target = chapter.parent().expect("a folder").join(path).canonicalize();
            let target = target.unwrap_or_else(|error| panic!("{}: {link}: {error}", chapter.display()));
            let is_page = target.extension().is_some_and(|extension| extension == "md");
            // A book cannot show what is in a folder.
            if target.is_dir() || (is_page && !chapters.contains(&target)) {
                missing.push(format!("{}: {link}", chapter.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(super) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn pages(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// The targets of the links of a page, outside of its blocks of code.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let prose = text.split("\n```").step_by(2);
    prose.flat_map(|prose| prose.split("](").skip(1)).filter_map(|rest| rest.split(')').next())
}

/// The anchors of the headings of a page, as GitHub and mdBook make them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let kept = |char: char| char.is_alphanumeric() || " -_".contains(char);
        let title = line.trim_start_matches('#').trim().to_lowercase();
        title.chars().filter(|char| kept(*char)).map(|char| if char == ' ' { '-' } else { char }).collect()
    })
}

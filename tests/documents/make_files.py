"""Make the recorded documents: `python -m tests.documents.make_files`.

LibreOffice (Debian's libreoffice-writer, -calc and -impress) and Chromium write the files beside
this one from the same short report of three pages, so that readers are tried with what other
programs write. They are kept in the repository: nobody needs these programs to run the tests.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent / "files"
BREAK: Final = '<p style="page-break-before: always">'
REPORT: Final = f"""<!DOCTYPE html>
<html><head><meta charset="utf-8"><title>Lighthouse</title></head>
<body><h1>The lighthouse of Köln</h1>
<p>The lamp was lit in <b>1911</b> by Ada Keeper, and burns 17 litres of oil a night.</p>
<h2>Prices</h2>
<table border="1"><tr><td>Thing</td><td>Price</td></tr><tr><td>Oil</td><td>12</td></tr>
<tr><td>Wicks</td><td>3.5</td></tr></table>
{BREAK}Second page: the stairs have 199 steps.</p>
<ul><li>Steps of stone</li><li>Steps of iron</li></ul>
{BREAK}Third page: the keeper's dog is called Biscuit.</p>
</body></html>"""
SHEETS: Final = "Item,Price,Bought\nOil,12,2026-01-31\nWicks,3.5,2026-02-28\n"
_A4: Final = "@page { size: A4; }"
SLIDES: Final = """<?xml version="1.0" encoding="UTF-8"?>
<office:document xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"
 xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0"
 xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"
 xmlns:svg="urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0"
 xmlns:presentation="urn:oasis:names:tc:opendocument:xmlns:presentation:1.0"
 office:version="1.3" office:mimetype="application/vnd.oasis.opendocument.presentation">
<office:body><office:presentation>{pages}</office:presentation></office:body></office:document>"""
SLIDE: Final = """<draw:page draw:name="s{number}">
<draw:frame presentation:class="title" svg:x="1cm" svg:y="1cm" svg:width="20cm" svg:height="3cm">
<draw:text-box><text:p>{title}</text:p></draw:text-box></draw:frame>
<draw:frame presentation:class="outline" svg:x="1cm" svg:y="5cm" svg:width="20cm" svg:height="9cm">
<draw:text-box><text:list><text:list-item><text:p>{first}</text:p></text:list-item>
<text:list-item><text:p>{second}</text:p></text:list-item></text:list></draw:text-box></draw:frame>
<presentation:notes><draw:frame presentation:class="notes" svg:x="1cm" svg:y="1cm"
 svg:width="9cm" svg:height="9cm"><draw:text-box><text:p>{note}</text:p></draw:text-box>
</draw:frame></presentation:notes></draw:page>"""
SHOWN: Final = (
    ("The lighthouse", "Lit in 1911", "17 litres a night", "Greet Ada first"),
    ("The stairs", "199 steps", "Stone and iron", "Hold the rail"),
)


def main() -> None:
    HERE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="documents-") as name:
        folder = Path(name)
        (folder / "report.html").write_text(REPORT)
        (folder / "prices.csv").write_text(SHEETS)
        pages = (
            SLIDE.format(number=number, title=a, first=b, second=c, note=d)
            for number, (a, b, c, d) in enumerate(SHOWN)
        )
        (folder / "show.fodp").write_text(SLIDES.format(pages="".join(pages)))
        make_office_files(folder)
        print_page(folder)
        for path in sorted(folder.glob("made/*")):
            shutil.copy(path, HERE / path.name)
            print(path.name, path.stat().st_size)


def make_office_files(folder: Path) -> None:
    """Let LibreOffice write the report, the prices and the show in each of its kinds."""
    convert(folder, "odt", "report.html", "--infilter=HTML (StarWriter)")
    for kind in ("docx", "rtf", "epub", "pdf"):
        convert(folder, kind, "made/report.odt")
    locked = 'pdf:writer_pdf_Export:{"EncryptFile":{"type":"boolean","value":"true"},'
    locked += '"DocumentOpenPassword":{"type":"string","value":"secret"}}'
    (folder / "locked.odt").write_bytes((folder / "made/report.odt").read_bytes())
    convert(folder, locked, "locked.odt")
    for kind in ("xlsx", "xls", "ods"):
        convert(folder, kind, "prices.csv")
    for kind in ("pptx", "odp"):
        convert(folder, kind, "show.fodp")


def convert(folder: Path, kind: str, source: str, *options: str) -> None:
    home = f"-env:UserInstallation=file://{folder}/home"
    command = ["soffice", home, "--headless", *options, "--convert-to", kind, "--outdir", "made"]
    subprocess.run([*command, source], cwd=folder, check=True, capture_output=True, timeout=120)


def print_page(folder: Path) -> None:
    """Let Chromium print the report as a PDF."""
    (folder / "page.html").write_text(REPORT.replace("<head>", f"<head><style>{_A4}</style>"))
    command = ["chromium", "--headless", "--no-sandbox", "--no-pdf-header-footer"]
    target = folder / "made/printed.pdf"
    subprocess.run(
        [*command, f"--print-to-pdf={target}", "page.html"],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=120,
    )


if __name__ == "__main__":
    main()

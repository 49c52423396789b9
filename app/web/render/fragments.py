"""Events to HTML: every piece of the page and of its updates is rendered here."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, cast

import jinja2
from markupsafe import Markup, escape

from app.config import KEY_PREFIX
from app.conversations.answer_state import LiveAnswer
from app.conversations.attachments import PromptLimit
from app.conversations.branches import can_continue
from app.conversations.history import ContextUsage
from app.db.attachments import Attachment
from app.documents.kinds import count_pages
from app.inference.kv_files import is_memory_only
from app.models.catalogue import CatalogueEntry
from app.models.found import FoundModel
from app.models.install.pulls import Pull
from app.models.model import format_bytes
from app.web.addresses import Addresses
from app.web.assets import Assets
from app.web.render.cards import Card, Offer, element_key
from app.web.render.dates import as_utc, clock, utc_offset
from app.web.render.markdown import escape_text
from app.web.render.messages import MessageView, ModelOption, UnavailableModel, live_line
from app.web.render.streaming import BlockUpdate, OpenBlock
from app.web.security.identity import identity_or_none, is_owner


@functools.cache
def _templates(templates: Path, static: Path, base: str) -> tuple[Assets, jinja2.Environment]:
    """Make what compiles templates; applications of one process share it."""
    assets = Assets(static)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[Addresses],
    )
    environment.globals |= {
        "base": base,
        "asset": assets.address,
        "me": identity_or_none,
        "utc_offset": utc_offset,
        "as_utc": as_utc,
        "clock": clock,
        "is_owner": is_owner,
        "is_memory_only": is_memory_only,
        "key": element_key,
        "size": format_bytes,
        "pages": count_pages,
        "capitalised": lambda text: text[:1].upper() + text[1:],
    }
    return assets, environment


class Fragments:
    """Renders templates, for a site below `base`. With `oob` a piece replaces its namesake on the
    page."""

    def __init__(self, templates: Path, static: Path, base: str = "") -> None:
        self.assets, self._environment = _templates(templates, static, base)
        self._swaps = cast("Any", self._environment.get_template("_swaps.html").module)
        # The frame sent most often, so its macro is rendered once, as a pattern.
        self._tail = str(self._swaps.tail("{}", "{}"))

    def render(self, template: str, **values: object) -> str:
        return self._environment.get_template(template).render(**values)

    # Swaps of what is rendered already; `target` is a CSS selector.

    def inside(self, target: str, html: str) -> str:
        """New content for an element, which itself stays."""
        return str(self._swaps.inside(target, html))

    def removed(self, target: str) -> str:
        return str(self._swaps.removed(target))

    def partial(self, target: str, swap: str, html: str) -> str:
        """A swap that does nothing where the page has no such target."""
        return str(self._swaps.partial(target, swap, html))

    def messages(self, views: Sequence[MessageView], divider: int | None, earlier: int) -> str:
        """The inside of the log. The model does not see what stands above message `divider`.

        earlier: how many messages stand before these.
        """
        return self.render("_messages.html", messages=views, divider=divider, earlier=earlier)

    def log(self, views: Sequence[MessageView], divider: int | None, earlier: int) -> str:
        inside = self.messages(views, divider, earlier)
        return self.inside("#log", inside)

    def prepended(self, views: Sequence[MessageView], divider: int | None, earlier: int) -> str:
        """Messages that stand before those on the page, in the place of the way to them."""
        inside = self.messages(views, divider, earlier)
        return self.removed("#earlier") + str(self._swaps.prepended("#log", inside))

    def appended(self, view: MessageView) -> str:
        return str(self._swaps.appended("#log", self.message(view)))

    def moved_divider(self, divider: int | None) -> str:
        """The line above message `divider`; where neither it nor a former line is, nothing."""
        line = self.partial("#log > .divider", "delete", "")
        if divider is not None:
            line += self.partial(f"#m{divider}", "beforebegin", self.render("_divider.html"))
        return line

    def message(self, view: MessageView, *, oob: bool = False) -> str:
        return self.render("_message.html", message=view, oob="outerHTML" if oob else "")

    def chips(
        self,
        files: Sequence[Attachment],
        *,
        counted_for: str = "",
        limit: PromptLimit | None = None,
        oob: bool = False,
    ) -> str:
        """Files of the message that is being written; with `oob` they come to those there are.

        counted_for: the model that is to read them, and limit, how much it reads at once."""
        inside = self.render("_chips.html", files=files, counted_for=counted_for, limit=limit)
        return str(self._swaps.appended("#chips", inside)) if oob and files else inside

    def columns(self, answers: Sequence[MessageView]) -> str:
        """Answers to one prompt, side by side."""
        return "".join(self.column(answer) for answer in answers)

    def column(self, answer: MessageView, *, oob: bool = False) -> str:
        stored = answer.stored
        is_cut = stored is not None and not answer.is_live and can_continue(stored)
        return self.render("_column.html", message=answer, can_continue=is_cut, column_oob=oob)

    def comparison_actions(self, chat_id: str, *, is_running: bool, oob: bool = True) -> str:
        """Stop, while one of the answers runs."""
        html = self.render("_stop.html", chat_id=chat_id) if is_running else ""
        return self.inside("#compare-actions", html) if oob else html

    def answer_update(self, message_id: int, news: BlockUpdate) -> str:
        """More of an answer that runs: the open block gives way, in one swap, or its text grows."""
        if news.opened is not None:
            return str(self._swaps.instead_of_open(message_id, news.finished, news.opened))
        if not news.tail:
            return ""
        return self._tail.format(message_id, escape(news.tail))

    def thought_update(self, message_id: int, more: str, label: str) -> str:
        """More of the thought before an answer, and how long it takes by now."""
        return str(self._swaps.thought_update(message_id, more, label))

    def answer_finished(self, view: MessageView, news: BlockUpdate) -> str:
        """The rest of an answer and everything around it; what is shown of it stays untouched."""
        frame = str(self._swaps.instead_of_open(view.id, news.finished, None))
        return frame + self.render("_message.html", message=view, oob="outerMorph")

    def open_block(self, message_id: int, block: OpenBlock) -> Markup:
        """The open block as it stands on the page, to be replaced there, or to grow."""
        return Markup(self._swaps.open_block(message_id, block))  # noqa: S704 - a template

    def line(self, stream: LiveAnswer) -> str:
        return self.inside(f"#m{stream.message_id}-line", escape_text(live_line(stream)))

    def picker(
        self, chat_id: str, options: Sequence[ModelOption], chosen: str, *, oob: bool = False
    ) -> str:
        return self.render("_picker.html", chat_id=chat_id, options=options, chosen=chosen, oob=oob)

    def option(self, option: ModelOption) -> str:
        """Another label for a line of the picker, which leaves the choice as it is."""
        return self.inside(f"#option-{element_key(option.name)}", escape_text(option.label))

    def pulls(
        self, pulls: Sequence[Pull], offers: Sequence[CatalogueEntry], *, oob: bool = False
    ) -> str:
        """Models on their way; `offers`: some to get where there is none at all."""
        return self.render("_pulls.html", pulls=pulls, offers=offers, oob=oob)

    def missing(self, missing: UnavailableModel | None, *, oob: bool = False) -> str:
        """The model that is chosen and not there, and what can be done about it."""
        return self.render("_missing.html", missing=missing, oob=oob)

    def full(self, sentence: str, *, oob: bool = False) -> str:
        """Render the warning that the disk is full, while it is."""
        return self.render("_full.html", sentence=sentence, oob=oob)

    def cards(self, cards: Sequence[Card], *, oob: bool = False) -> str:
        return self.render("_cards.html", cards=cards, render_card=self.card, oob=oob)

    def card(self, card: Card, *, oob: bool = False) -> str:
        return self.render("_card.html", card=card, oob=oob)

    def pull_list(self, pulls: Sequence[Pull], *, oob: bool = False) -> str:
        return self.render("_coming.html", pulls=pulls, oob=oob)

    def suggestions(self, starters: Sequence[str]) -> str:
        """Other texts that a new chat may begin with, for a page that shows some."""
        return self.render("_suggestions.html", starters=starters, oob=True)

    def better(self, entry: CatalogueEntry | None, *, oob: bool = False) -> str:
        """A model that is worth a download, if there is one."""
        return self.render("_better.html", better=entry, oob=oob)

    def offers(self, offers: Sequence[Offer], coming: Collection[str], *, oob: bool = False) -> str:
        """Models of Wick's own list; `coming`: the names of those that are being downloaded."""
        return self.render("_offers.html", offers=offers, coming=coming, oob=oob)

    def voice(self, view: object, *, oob: bool = False) -> str:
        """Voice to text, for the models page."""
        return self.render("_voice.html", voice=view, oob=oob)

    def found(
        self, found: Sequence[FoundModel], coming: Collection[str], *, oob: bool = False
    ) -> str:
        """Models of other programs on this computer."""
        return self.render("_found.html", found=found, coming=coming, oob=oob)

    def download_started(self, title: str) -> str:
        """Render the news beside its button, since the list of downloads is far above."""
        return self.render("_started.html", title=title)

    def intro(self, *, elsewhere: bool, oob: bool = False) -> str:
        """Render the promise of the models page; `elsewhere`: some are on other machines."""
        return self.render("_lead.html", elsewhere=elsewhere, oob=oob)

    def remote_fields(self, *, oob: bool = False) -> str:
        return self.render("_remote_fields.html", key_prefix=KEY_PREFIX, oob=oob)

    def source_fields(self, *, takes_paths: bool, oob: bool = False) -> str:
        return self.render("_source_fields.html", takes_paths=takes_paths, oob=oob)

    def actions(
        self, *, chat_id: str, is_running: bool, is_deleted: bool, oob: bool = False
    ) -> str:
        return self.render(
            "_actions.html",
            chat_id=chat_id,
            is_running=is_running,
            is_deleted=is_deleted,
            oob=oob,
        )

    def gauge(self, gauge: ContextUsage | None) -> str:
        """Show how full the window is. Its element stays, so that a user can read on."""
        line = self.render("_gauge_line.html", gauge=gauge)
        more = self.render("_gauge_more.html", gauge=gauge)
        return self.inside("#gauge-line", line) + self.inside("#gauge-more", more)

    def heading(self, title: str) -> str:
        """Render the title of the page, and of the browser's tab."""
        text = escape_text(title)
        return self.inside("#title", text) + self.inside("title", f"{text} · Wick")

    def announcement(self, text: str) -> str:
        return self.inside("#announcer", escape_text(text))

    def closed_dialog(self) -> str:
        """The page closes a dialog in which nothing is left."""
        return self.inside("#dialog", "")

    def notice(
        self,
        text: str,
        *,
        undo: str | None = None,
        is_done: bool = False,
        oob: bool = True,
        details: Sequence[str] = (),
    ) -> str:
        """A sentence for the user; `undo`: the address that takes it back; `is_done`: it only tells
        what was done."""
        return self.render(
            "_notice.html", text=text, undo=undo, is_done=is_done, oob=oob, details=details
        )

    def submission_result(self, client_id: str, *, accepted: bool, next_id: str) -> str:
        """Tell the composer what became of the submission `client_id`."""
        return self.render("_reply.html", client_id=client_id, accepted=accepted, next_id=next_id)

"""The socket of an open models page: whoever changes something, everybody sees it."""

from __future__ import annotations

from dataclasses import dataclass, field

from quart import Blueprint

from app.conversations.hub import Subscription
from app.web.context import ServerContext, server_context
from app.web.live.sidebar import SidebarUpdates, until_cursor
from app.web.render.cards import Card
from app.web.render.models import ModelsView, Speeds, load_models_view
from app.web.render.warning import warning
from app.web.security.identity import current_user
from app.web.socket import serve

blueprint = Blueprint("models_live", __name__)
FRAME_SECONDS = 0.2


@dataclass(slots=True)
class ModelsConnection:
    """One open models page. `shown`: the HTML of each of its parts; `lines`: what was said last."""

    context: ServerContext
    subscription: Subscription
    sidebar: SidebarUpdates
    shown: dict[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    lines: dict[str, str] = field(default_factory=dict)
    speeds: Speeds = field(default_factory=Speeds)
    pause: float = FRAME_SECONDS

    async def initial_frame(self, version: str) -> str:
        """Send everything: the parts are small, and put in place without touching the rest."""
        news = await self.sidebar.frame(whole=True) if version != self.context.hub.version else ""
        return news + self._frame(await load_models_view(self.context, self.speeds))

    async def next_frame(self) -> str:
        subscription = self.subscription
        news = ""
        if subscription.sidebar:  # an answer may have ended
            self.speeds = Speeds()
            news = await self.sidebar.frame()
        subscription.sidebar = subscription.models = subscription.messages = False
        return news + self._frame(await load_models_view(self.context, self.speeds))

    async def on_message(self, data: str | bytes) -> None:
        """Ignore it: this page says nothing over its socket."""

    def rejection_frame(self, data: str | bytes, sentence: str) -> str:
        return self.context.fragments.notice(sentence)

    def _frame(self, view: ModelsView) -> str:
        """The parts that are not what they were."""
        fragments = self.context.fragments
        cards = {card.key: fragments.card(card, oob=True) for card in view.cards}
        parts = {
            "lead": fragments.intro(elsewhere=view.elsewhere, oob=True),
            "pulls": fragments.pull_list(view.pulls, oob=True),
            "offers": fragments.offers(view.offers, view.coming, oob=True),
            "voice": fragments.voice(view.voice, oob=True),
            "found": fragments.found(view.found, view.coming, oob=True),
            "full": fragments.full(warning(self.context), oob=True),
        }
        if tuple(cards) != self.names:
            self.names = tuple(cards)
            frame = fragments.cards(view.cards, oob=True)
        else:
            frame = "".join(html for key, html in cards.items() if self.shown.get(key) != html)
        frame += "".join(html for key, html in parts.items() if self.shown.get(f"#{key}") != html)
        self.shown = cards | {f"#{key}": html for key, html in parts.items()}
        return frame + self._announcement(view)

    def _announcement(self, view: ModelsView) -> str:
        """Say for screen readers what came, went, got ready or failed."""
        before, self.lines = self.lines, {card.name: announcement(card) for card in view.cards}
        self.lines |= {pull.name: f"{pull.name}: {pull.error}" for pull in view.pulls if pull.error}
        news = [line for name, line in self.lines.items() if before.get(name) != line]
        news += [
            f"{name} has been removed."
            for name in before
            if name not in self.lines and not any(pull.name == name for pull in view.pulls)
        ]
        return self.context.fragments.announcement(" ".join(news)) if before and news else ""


def announcement(card: Card) -> str:
    """Return the state of a model without figures that change all the time."""
    line = "Loading" if card.state == "loading" else card.line
    return f"{card.title}: {line}."


@blueprint.websocket("/models/live")
async def live() -> None:
    context = server_context()
    subscription = context.hub.subscribe(current_user(), "")
    updates = SidebarUpdates(context, subscription, until_cursor())
    await serve(context.hub, ModelsConnection(context, subscription, updates))

// What a script adds to pages that are whole without it: the theme, the zone, lists that change in place, receipts in their row.
const $ = (selector, within = document) => within.querySelector(selector);
const root = document.documentElement;
const FRAGMENT = { "X-Fragment": "1" };

const say = (text) => { const live = $("#announce"); if (live) live.textContent = text; };

/** Keep a choice, where the browser lets us. */
function keep(name, value) {
  try { localStorage.setItem(name, value); } catch {} // storage can be switched off
}

const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;

function switchTheme() {
  root.dataset.theme = isDark() ? "light" : "dark";
  keep("theme", root.dataset.theme);
}

/** Times and days are the server's to write: say which zone, and ask again. */
function switchZone() {
  keep("zone", viewer.stored("zone") === "UTC" ? "local" : "UTC");
  viewer.tellZone();
  location.reload();
}

/** Fetch the part of a page that changes. Anything but that part (signed out, an error) is left to the browser to show. */
async function fragmentOf(address, signal) {
  const answer = await fetch(address, { headers: FRAGMENT, signal });
  if (!answer.ok || answer.redirected) throw new Error(`unexpected answer ${answer.status}`);
  return answer.text();
}

let underWay = null;
let shown = location.pathname + location.search;

/** Show another page of a list in place; its address goes into the history, so that Back and sharing work. */
async function swap(address, focus, { push }) {
  underWay?.abort();
  const mine = underWay = new AbortController();
  const page = $("#page");
  page.setAttribute("aria-busy", "true");
  try {
    page.innerHTML = await fragmentOf(address, mine.signal);
  } catch (error) {
    if (error.name !== "AbortError") location.assign(address);
    return;
  }
  page.removeAttribute("aria-busy");
  if (push) history.pushState({}, "", address);
  shown = location.pathname + location.search;
  const target = focus && document.getElementById(focus);
  if (target) {
    target.focus({ preventScroll: true });
    target.scrollIntoView({ block: "nearest" });
  }
  const news = $("[data-announce]", page);
  if (news) say(news.textContent);
}

/** Open or close the receipt of a line, in a row below it. */
async function toggleReceipt(link) {
  const id = link.dataset.receipt, open = document.getElementById(id);
  if (open) {
    open.remove();
    link.setAttribute("aria-expanded", "false");
    return;
  }
  if (link.getAttribute("aria-busy") === "true") return;
  link.setAttribute("aria-busy", "true");
  let body;
  try {
    body = await fragmentOf(link.href);
  } catch {
    location.assign(link.href);
    return;
  }
  link.removeAttribute("aria-busy");
  const row = document.createElement("tr"), cell = document.createElement("td");
  row.id = id;
  row.className = "receipt";
  row.setAttribute("role", "row");
  cell.colSpan = 6;
  cell.setAttribute("role", "cell");
  cell.innerHTML = body;
  row.append(cell);
  link.closest("tr").after(row);
  link.setAttribute("aria-expanded", "true");
  link.setAttribute("aria-controls", id);
}

const isPlain = (event) => event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;

document.addEventListener("click", (event) => {
  const target = event.target;
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(target)) menu.open = false;
  if (target.closest("#theme")) return switchTheme();
  if (target.closest("#zone")) return switchZone();
  const link = target.closest("a[data-swap], a[data-receipt]");
  if (!link || !isPlain(event)) return;
  event.preventDefault();
  if (link.dataset.receipt) toggleReceipt(link);
  else swap(link.href, link.dataset.swap, { push: true });
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const menu = document.activeElement?.closest("details.menu[open]");
  if (!menu) return;
  menu.open = false;
  $("summary", menu).focus();
});

addEventListener("popstate", () => {
  if (location.pathname + location.search !== shown) swap(location.href, null, { push: false });
});

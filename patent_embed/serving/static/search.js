// Judgements, full records, and keys. Without this file the page still searches and filters.
'use strict';

const results = document.getElementById('results');
const query = document.getElementById('q');
const said = document.getElementById('said');
const saying = JSON.parse(results.dataset.saying);
const hits = [...document.querySelectorAll('.hit')];

for (const judge of document.querySelectorAll('.judge')) judge.hidden = false;
// On a narrow page the filters would stand before the first result.
if (matchMedia('(max-width: 760px)').matches) for (const part of document.querySelectorAll('.filters')) part.open = false;

// Judgements: saved at once, and shown in every list that has the patent.
async function judge(hit, button) {
  const taken_back = button.getAttribute('aria-pressed') === 'true';
  const relevant = taken_back ? null : button.dataset.relevant === 'true';
  const body = {
    query: results.dataset.query, publication_number: hit.dataset.number, relevant,
    system: hit.dataset.system, rank: Number(hit.dataset.rank),
  };
  let saved = false;
  try {
    const answer = await fetch('/judgements', {
      method: 'POST', headers: {'content-type': 'application/json'}, body: JSON.stringify(body),
    });
    saved = answer.ok;
  } catch { /* the server is gone: said below */ }
  said.textContent = saved ? `${saying.saved}: ${hit.dataset.number}` : saying.not_saved;
  if (!saved) return;
  for (const same of hits.filter(each => each.dataset.number === hit.dataset.number)) {
    for (const each of same.querySelectorAll('.judge button')) {
      each.setAttribute('aria-pressed', String(relevant !== null && each.dataset.relevant === String(relevant)));
    }
  }
}

// The full record, as text, when it is first opened.
async function show(hit, details) {
  const list = details.querySelector('dl');
  if (!details.open || list.childElementCount) return;
  const answer = await fetch(`/patent?number=${encodeURIComponent(hit.dataset.number)}`);
  if (!answer.ok) return;
  const record = await answer.json();
  const names = ['publication_number', 'applicants', 'publication_date', 'codes', 'family_id', 'citations', 'claims', 'description'];
  for (const name of names) {
    const value = record[name];
    if (!value || value.length === 0) continue;
    const term = document.createElement('dt'), text = document.createElement('dd');
    term.textContent = saying[name];
    text.textContent = Array.isArray(value) ? value.join(name === 'claims' ? '\n' : ', ') : value;
    list.append(term, text);
  }
}

for (const hit of hits) {
  for (const button of hit.querySelectorAll('.judge button')) button.addEventListener('click', () => judge(hit, button));
  const details = hit.querySelector('details.record');
  details.addEventListener('toggle', () => show(hit, details));
}

// Keys. Enter searches, Shift+Enter begins a line.
query.addEventListener('keydown', event => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    query.form.requestSubmit();
  }
});
const press = (hit, selector) => hit?.querySelector(selector)?.click();
const actions = {
  o: hit => press(hit, 'details.record > summary'),
  m: hit => press(hit, 'a.like'),
  r: hit => press(hit, '.judge [data-relevant=true]'),
  n: hit => press(hit, '.judge [data-relevant=false]'),
};
document.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input, textarea')) return;
  const at = hits.indexOf(document.activeElement?.closest('.hit'));
  if (event.key === '/') {
    query.focus();
    query.setSelectionRange(query.value.length, query.value.length);
  }
  else if (event.key === 'j') hits[Math.min(at + 1, hits.length - 1)]?.focus();
  else if (event.key === 'k') hits[Math.max(at - 1, 0)]?.focus();
  else if (actions[event.key] && at >= 0) actions[event.key](hits[at]);
  else return;
  event.preventDefault();
});

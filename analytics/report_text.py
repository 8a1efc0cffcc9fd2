"""What the report says of itself whatever the results are: its look, and what labels mean and do not mean."""

from analytics.report_charts import emotion_rules

STYLE = """
:root{color-scheme:light dark;--ground:#f6f7f9;--card:#fff;--ink:#1c1f24;--soft:#5c6470;--line:#e1e5ea;--lane:#eceff3;
--warn:#fff6df;--warn-line:#e3c46a}
@media (prefers-color-scheme:dark){:root{--ground:#14161a;--card:#1d2026;--ink:#e9ebee;--soft:#a2aab5;--line:#30353d;
--lane:#292d34;--warn:#2d2818;--warn-line:#7a672a}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Noto Sans","Liberation Sans",sans-serif}
main{max-width:1080px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:28px;line-height:1.2;margin:0 0 4px}h2{font-size:20px;margin:44px 0 12px}
h3{font-size:16px;margin:0;overflow-wrap:anywhere}p{margin:0 0 10px;max-width:76ch}a{color:inherit}
.soft{color:var(--soft)}.small{font-size:13px}.path{overflow-wrap:anywhere}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:18px 20px;margin:0 0 16px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(130px,1fr));gap:12px;margin:22px 0 16px}
.tile{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:12px 16px}
.tile b{display:block;font-size:24px;line-height:1.25;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:13px}
.note{background:var(--warn);border:1px solid var(--warn-line);border-radius:12px;padding:14px 20px}
.note p:last-child{margin:0}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:4px 16px;padding:0;margin:0 0 12px;font-size:13px}
.legend i{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:6px}
.bar{display:flex;height:14px;border-radius:4px;overflow:hidden;background:var(--lane);min-width:110px}
.bar.big,.big .bar{height:26px;border-radius:6px}
.wrap{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th{text-align:left;font-weight:600;color:var(--soft);font-size:12.5px;white-space:nowrap}
th,td{padding:7px 16px 7px 0;border-bottom:1px solid var(--line);vertical-align:top;white-space:nowrap}
th:last-child,td:last-child{padding-right:0}
tr:last-child td{border-bottom:0}td.n,th.n{text-align:right}
td p{margin:0;white-space:normal;overflow-wrap:anywhere;min-width:14ch}td .bar{margin-top:4px}
.track{display:grid;grid-template-columns:150px 1fr;gap:0 18px;margin:16px 0 0}
.who{font-size:13px;line-height:1.45}.who b{font-size:15px}
svg{display:block;width:100%}
.areas{height:64px;background:var(--lane);border-radius:6px 6px 0 0}
.ribbon{height:12px;margin-top:2px;background:var(--lane);border-radius:0 0 6px 6px}
.axis{position:relative;height:20px;margin-top:3px;font-size:11.5px;color:var(--soft);font-variant-numeric:tabular-nums}
.axis span{position:absolute;transform:translateX(-50%);white-space:nowrap}.axis .first{transform:none}
.axis .last{transform:translateX(-100%)}
pre{font-size:12px;line-height:1.45;overflow-x:auto;background:var(--lane);border-radius:8px;padding:12px;
margin:8px 0 0}
summary{cursor:pointer}ul.plain{padding-left:20px;margin:0;max-width:76ch}ul.plain li{margin:0 0 6px}
@media (max-width:640px){main{padding:18px 12px 40px}.track{grid-template-columns:1fr}.who{margin:0 0 6px}
.who br{display:none}.who br+*{margin-left:8px}.card{padding:14px}h1{font-size:23px}}
@media print{:root{color-scheme:light;--ground:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#ccc;--lane:#eee;
--warn:#fff;--warn-line:#999}body{font-size:11pt}main{max-width:none;padding:0}.card,.tile,.note{break-inside:avoid}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
""" + emotion_rules()

MEANING = """
<p><b>A label says how a face looks to a model, not what a person feels.</b> The model was trained on seven categories
of posed and web-scraped photographs. People smile without joy and grieve without tears, and how feelings show differs
between people, cultures and situations (<a href="https://doi.org/10.1177/1529100619832930">Barrett et al. 2019</a>).
Use these timelines to compare many moments, not to judge one person.</p>
"""

METHOD = """
<ul class="plain">
<li>Faces are found in every frame that was looked at and followed over time. A person who comes back after a while or a
cut is taken for the same one (P0, P1, …) where place, size and the colours of face and clothes clearly say so, and for
another one else; nobody is recognised from one video to the next.</li>
<li>Each face gets a calibrated probability for each of seven emotions. They are smoothed over time; the label changes
only when another emotion clearly leads. The upper part of each timeline shows the smoothed probabilities, the line
below it the label. Where there is nothing, no face was known.</li>
<li>Shares are shares of the time for which a label is known, summed over all people.</li>
<li>Faces that are small, blurred, dark, cut off, turned away or uncertain keep their rows but do not count in
labels and shares, unless the settings below say that the gate was left open (<code>"gate": false</code>).</li>
<li>Errors are not spread evenly: fear and disgust are seldom read right, and the training pictures do not show all
ages and skins alike. People agree with one another on about two thirds of the labels of such pictures; a model
trained on them can be no more certain than they are.</li>
<li>Two people who cross may have been exchanged; tracks where that may have happened are marked.</li>
<li>In the European Union the AI Act (Regulation 2024/1689) prohibits systems that infer emotions of people at work
and in education, except for medical or safety reasons (Article 5); elsewhere people must be told that such a system
looks at them (Article 50). Other laws may ask for more.</li>
</ul>
"""

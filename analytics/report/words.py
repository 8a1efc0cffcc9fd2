"""What the report says of itself whatever the results are: its look, and what labels mean and do not mean."""

from analytics.report.charts import emotion_rules

STYLE = """
:root{color-scheme:light dark;--ground:#f6f7f9;--card:#fff;--ink:#1c1f24;--soft:#545b66;--line:#dfe3e8;--lane:#eceff3;
--unread:#c3c9d1;--warn:#fff6df;--warn-line:#e3c46a}
@media (prefers-color-scheme:dark){:root{--ground:#14161a;--card:#1d2026;--ink:#e9ebee;--soft:#a9b1bc;--line:#343a43;
--lane:#292d34;--unread:#4d545e;--warn:#2d2818;--warn-line:#7a672a}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0 auto;padding:28px 20px 60px;max-width:1120px;background:var(--ground);color:var(--ink);
font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Liberation Sans",sans-serif}
h1{font-size:28px;line-height:1.2;margin:0 0 4px}h2{font-size:20px;margin:44px 0 12px}
h3{font-size:16px;margin:0 0 2px;overflow-wrap:anywhere}h4{font-size:15px;line-height:1.35;margin:0 0 2px}
h4 span{font-weight:400}p{margin:0 0 10px;max-width:76ch}a{color:inherit;text-underline-offset:2px}
.soft{color:var(--soft)}.small{font-size:13px}.path,code{overflow-wrap:anywhere}.after{margin-top:12px}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:18px 20px;margin:0 0 16px}
.card>:last-child{margin-bottom:0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(140px,1fr));gap:12px;margin:22px 0 16px}
.tile{display:flex;flex-direction:column;background:var(--card);border:1px solid var(--line);border-radius:12px;
padding:12px 16px}
.tile dd{margin:0;font-size:24px;font-weight:600;line-height:1.25;font-variant-numeric:tabular-nums}
.tile dt{color:var(--soft);font-size:13px}
.note{background:var(--warn);border:1px solid var(--warn-line);border-radius:12px;padding:14px 20px}
.note p:last-child{margin:0}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:4px 16px;padding:0;margin:0 0 12px;font-size:13px}
.legend i,.dot{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:6px}
.bar{display:flex;height:14px;border-radius:4px;overflow:hidden;background:var(--lane);min-width:110px}
.big .bar{height:26px;border-radius:6px}
.wrap{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding:0 0 8px}
th,td{text-align:left;font-weight:400;padding:7px 18px 7px 0;border-bottom:1px solid var(--line);vertical-align:top}
thead th{font-weight:600;color:var(--soft);font-size:12.5px;white-space:nowrap}
th:last-child,td:last-child{padding-right:0}tbody tr:last-child>*{border-bottom:0}
.n{text-align:right;white-space:nowrap}tbody th,td{overflow-wrap:anywhere}td .bar{margin-top:4px}
.track{display:grid;grid-template-columns:236px minmax(0,1fr);gap:0 20px;margin:18px 0 0}
.who{font-size:13px;line-height:1.45}.who>span{display:block}
.chart{display:block;width:100%;height:92px;border-radius:6px;shape-rendering:crispEdges}
.lane{fill:var(--lane)}.e-unread{fill:var(--unread);background:var(--unread)}
.axis{position:relative;height:22px;font-size:12px;color:var(--soft);
font-variant-numeric:tabular-nums}
.axis span{position:absolute;padding-top:5px;transform:translateX(-50%);white-space:nowrap}
.axis span::before{content:"";position:absolute;left:50%;top:0;height:5px;border-left:1px solid var(--soft)}
.axis .first{transform:none}.axis .first::before{left:0}
.axis .last{transform:translateX(-100%)}.axis .last::before{left:auto;right:0}
pre{font-size:12px;line-height:1.45;overflow-x:auto;background:var(--lane);border-radius:8px;padding:12px;
margin:8px 0 0}
summary{cursor:pointer}ul.plain{padding-left:20px;margin:0;max-width:76ch}ul.plain li{margin:0 0 6px}
@media screen and (max-width:700px){body{padding:18px 12px 40px}h1{font-size:24px}h2{margin-top:34px}.card{padding:14px}
.tiles{grid-template-columns:1fr 1fr;gap:8px}.track{grid-template-columns:minmax(0,1fr)}.who{margin:0 0 6px}
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
table,caption,tbody,tr,tbody th,td{display:block}tr{padding:10px 0;border-bottom:1px solid var(--line)}
tbody tr:last-child{border-bottom:0;padding-bottom:0}tbody th,td{border:0;padding:1px 0}tbody th{font-weight:600}
td,td.n{display:flex;gap:12px;text-align:left;white-space:normal}
td::before{content:attr(data-name);flex:0 0 96px;color:var(--soft);font-size:13px}td>div{flex:1;min-width:0}}
@media print{:root{color-scheme:light;--ground:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#ccc;--lane:#eee;
--unread:#bbb;--warn:#fff;--warn-line:#999}body{font-size:10.5pt;max-width:none;padding:0}
.tile,.note,.track,tr{break-inside:avoid}h2,h3,h4,caption{break-after:avoid}
details::details-content{content-visibility:visible}
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
cut is taken for the same one (P0, P1, …) where place, size and the colors of face and clothes clearly say so, and for
another one else; nobody is recognized from one video to the next.</li>
<li>Each face gets a calibrated probability for each of seven emotions. They are smoothed over time; the label changes
only when another emotion clearly leads. The timelines are drawn in at most 200 steps: each shows the mean of the
probabilities in it and the label that most of its faces have, so that a shorter change may not be seen, and breaks of
up to 0.3 s are drawn closed; the tables have every frame.</li>
<li>Shares are shares of the time for which a label is known, summed over all people.</li>
<li>Faces that are small, blurred, dark, cut off, turned away or uncertain are seen, but not read: they keep their
rows and do not count in labels and shares, unless the settings below say that the gate was left open
(<code>"gate": false</code>). For up to a second, what was read before and after them is taken to go on.</li>
<li>Errors are not spread evenly: fear and disgust are seldom read right, and the training pictures do not show all
ages and skins alike. People agree with one another on about two thirds of the labels of such pictures; a model
trained on them can be no more certain than they are.</li>
<li>Two people who cross may have been exchanged; tracks where that may have happened are marked.</li>
<li>In the European Union the AI Act (Regulation 2024/1689) prohibits systems that infer emotions of people at work
and in education, except for medical or safety reasons (Article 5); elsewhere people must be told that such a system
looks at them (Article 50). Other laws may ask for more.</li>
</ul>
"""

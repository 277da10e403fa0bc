"""Plots of the short stories: each is a list of beats, each beat a list of phrasings (see grammar.py).

A beat that begins with None may be left out. Slots: hero and friend with their pronouns (he, him, his; fhe, fhim, fhis; capitalised He, His,
FHe, FHis), town, place, place2, thing, object (adjective + thing), object2, animal, food, food2, job, colour, day, season, n (a small
number word), hours, material.
"""

PLOTS = {
    "lost": [
        [
            "{hero} [had|owned|kept] {a_object} that [{he} loved more than anything else|had belonged to {his} grandmother|{he} used every day|a {job} from {town} had given {him}].",
            "On {day} {hero} [noticed|saw|found out] that {his} {object} was [gone|missing|not in its place].",
            "[One|On a] {weather} [morning|evening|afternoon] {hero} could not find {his} {object}.",
            "There was only one {thing} in the house of {hero}, and on {day} it was [gone|nowhere to be found].",
        ],
        [
            "{He} looked [under the bed|behind the door|in every drawer|on every shelf] and [in the {place}|behind the {place}], but [it was not there|there was nothing but dust|found only {a_object2}].",
            "First {he} searched the {place}, then the {place2}, and [at last|in the end] even the [roof|cellar|street].",
            "\"Where did I [put|leave|see] it?\" {he} [asked|said|wondered]. {He} [tried to remember|thought about] the day before.",
            "{He} turned the whole {place} upside down and found {n} [coins|buttons|old letters|keys], but no {thing}.",
        ],
        [
            "{friend}, {his} [neighbour|friend|cousin], came [to help|by and asked what was wrong|with a lamp].",
            "{He} asked {friend} for help, because {friend} [was good at finding things|knew the {place} well|had sharp eyes].",
            "\"[When|Where] did you [use|have|see] it last?\" asked {friend}.",
            "{friend} listened and [said|answered]: \"Let us [go back|walk] the way you came.\"",
        ],
        [
            None,
            "\"I was in the {place2} [yesterday|last night|on {day}],\" said {hero}, \"and I carried {a_object2} [home|in both hands|under my arm].\"",
            "Together they walked [along|down|up] the road to the {place2}, and {friend} looked [left|behind every stone] while {hero} looked [right|behind every tree].",
            "They asked the {job}, but the {job} had [seen nothing|only seen a {animal}|been asleep].",
        ],
        [
            "In the {place2} they saw a {animal} that [sat on|slept beside|was playing with] something {colour}. It was the {thing}!",
            "At last {friend} [pointed at|reached into] {a_object2}. Inside [lay|was] the {thing}, [clean and dry|a little dusty|not broken at all].",
            "Then something [shone|moved|made a small sound] [under a bench|between two stones|in the grass]. {hero} [bent down|ran] and [picked up|found] the {thing}.",
            "It was {friend} who [found|saw] it: the {thing} [hung on a nail|lay in the {colour} box|stood] in the {place2}, just where {hero} had [left|put] it.",
        ],
        [
            "{hero} [laughed|was so happy that {he} danced|thanked {friend}] and [made|cooked] {food} for [both of them|everyone].",
            "\"[Next time|From now on] I will [put it back|tie it to my belt|look after it better],\" said {hero}, and [that is what {he} did|{friend} smiled].",
            "Since then the {thing} has [a place of its own|hung beside the door], and {hero} [knows|checks every evening] where it is.",
            "They went home [slowly|together|before it grew dark] and ate {food} with {food2}.",
        ],
    ],
    "journey": [
        [
            "{hero} wanted to [see|visit|reach] {town}, [a town by the sea|a village behind the hills|the town where {friend} lived].",
            "In {season} {hero} [left home|set out] with {a_object} and a bag full of {food}.",
            "It was [a long way|{n} days on foot|{hours} hours by cart] to {town}, but {hero} [was not afraid|had made up {his} mind|had good boots].",
        ],
        [
            "The road [led|went|ran] through a {place} and [over|past|around] a {place2}.",
            "On the first day it [rained|was hot|snowed], and {hero} [slept|rested] in {a_place}.",
            "{He} walked [from morning until evening|until {his} feet hurt] and [counted|sang to] the [birds|clouds|trees].",
            "[At noon|After an hour|Near a bridge] {he} met a {job} who [carried|was selling|had lost] {a_object2}.",
        ],
        [
            "\"[Where are you going|What brings you here]?\" asked the {job}. \"To {town},\" [said|answered] {hero}.",
            "The {job} [warned {him}|told {him}] that the [bridge|road|gate] ahead was [closed|broken|under water].",
            "{He} shared {his} {food} with the {job}, and the {job} showed {him} [a shorter way|a path through the {place}|where to find water].",
            "A {animal} [followed|watched] {him} for a while and then [ran|turned] away.",
        ],
        [
            None,
            "At night {he} made a small fire and [listened to the wind|looked at the stars|thought of home].",
            "When the path [split|ended], {hero} [took out {his} map|asked an old {man2}|waited until the fog was gone].",
            "The river was [high|wild|cold], so {he} [waited for a boat|built a raft of wood and rope|went along it until there was a bridge].",
            "Once {he} lost {his} way and came back to the same {place} [twice|{n} times].",
        ],
        [
            "[On the {nth} day|At sunrise|Just before dark] {hero} saw the [towers|roofs|lights] of {town}.",
            "[Finally|At last] {he} stood [before the gate|in the main square|at the harbour] of {town}.",
        ],
        [
            "{friend} [was waiting|ran to meet {him}|opened the door], and they [talked|laughed] until [late|midnight].",
            "The town was [bigger|smaller|louder|quieter] than {he} had thought, and [it smelled of {food}|every house was {colour}|music came from every window].",
            "{He} gave {friend} the {thing} {he} had carried all the way, and {friend} [said|whispered]: \"[It is perfect|I never had a better present|How kind you are].\"",
            "{He} stayed there for {n} [days|weeks|months], and then the road [called {him} again|led {him} home].",
        ],
    ],
    "repair": [
        [
            "The {thing} of {hero} was broken. [It made a strange noise|It would not move|A piece of it had fallen off].",
            "[One day|On {day}] the old {thing} in the {place} [stopped working|broke in two|fell to the floor].",
            "{hero} the {job} [had a problem|was worried]: {his} best {thing} did not work any more.",
        ],
        [
            "{He} [shook|turned|opened] it and looked inside. [Something was loose|A part was missing|It was full of sand].",
            "\"[Throw it away|Buy a new one],\" said {friend}. \"No,\" said {hero}, \"[it can be mended|I want to understand it first|things deserve a second chance].\"",
            "{He} put it on the table, lit a lamp and took it apart, piece by piece. [There were {n} pieces|Each piece had its place].",
        ],
        [
            "First {he} cleaned every part with [a soft cloth|warm water|oil].",
            "{He} needed [a small piece of {material}|{n} nails|a longer string|glue], and {friend} [had some|brought it from the {place}].",
            "[Because|Since] one part was [bent|worn out|cracked], {he} made a new one out of {material}.",
            "{friend} held the light while {hero} [tightened the screws|tied the ends|measured twice].",
        ],
        [
            None,
            "The first try failed: [the glue was still wet|a screw was too long|one part was upside down]. So {he} [waited|began again|took a smaller one].",
            "It took [{hours} hours|the whole evening|until {day}], [but {he} did not give up|and {he} forgot to eat].",
            "\"[Careful|Slowly],\" said {friend}, \"[or it will break again|we have time].\"",
        ],
        [
            "Then {he} put everything together and [held {his} breath|tried it]. It [worked|moved|was as good as new]!",
            "In the end the {thing} was [stronger|better|more beautiful] than before.",
            "When {he} was done, [nobody could see where it had been broken|only a thin {colour} line showed where it had been broken].",
        ],
        [
            "[Soon|After that] the neighbours brought {their} broken things too, and {hero} [mended them all|opened a small workshop|taught {friend} how to do it].",
            "{friend} [shook {his} hand|was surprised] and said: \"You were right. [It only needed patience|Mending is better than buying].\"",
            "{He} put the tools back and [went to bed|drank a cup of tea], tired but [glad|proud|content].",
        ],
    ],
    "baking": [
        [
            "{hero} wanted to make {food} for {friend}, [whose birthday was on {day}|who had been ill|who had moved to {town}].",
            "Every {day} {hero} makes {food}. [The recipe comes from {his} grandfather|{He} never looks at the recipe].",
            "The guests were coming [at six|in {hours} hours], and there was [no|nothing but] {food} in the house.",
        ],
        [
            "{He} went to the [market|shop] and bought {food2}, [flour|salt|sugar] and {n} [eggs|lemons|onions].",
            "In the {place} {he} found [flour|milk|oil], but the [sugar|butter|salt] [was gone|had gone bad].",
            "{friend} lent {him} a [big bowl|sharp knife|wooden spoon], since {his} own was [broken|too small].",
        ],
        [
            "{He} mixed everything, [stirred it {n} times|added a little water|let it rest for an hour] and [put it in the oven|set the pot on the fire].",
            "First {he} [washed|cut|peeled] the {food2}. Then {he} [heated the pan|made the fire|melted the butter].",
            "The {place} soon smelled of [{food}|warm {food2}|spices and smoke].",
        ],
        [
            "But then a {animal} [jumped on the table|came through the window|barked at the door], and [the bowl fell down|half of it was gone].",
            "{He} tasted it. It was [too salty|too sweet|not done yet], so {he} [added water|waited a little longer|put in some {food2}].",
            "While it [cooked|baked], {hero} [swept the floor|sang a song|fell asleep in {his} chair]. [When {he} woke, there was smoke|It was ready just in time].",
        ],
        [
            "In the end [there was enough for everyone|nothing was left|it tasted better than ever].",
            "\"[Delicious|Wonderful]!\" said {friend}. \"[May I have the recipe|What did you put in it]?\" {hero} [only smiled|told {fhim} the secret: {food2}].",
            "They ate it [hot|cold], together with {food2}, and [told stories|talked about {town}|listened to the rain].",
        ],
    ],
    "animal": [
        [
            "A [young|hungry|wet|small] {animal} [sat in front of the door of {hero}|had got lost in the {place}|was caught in a fence].",
            "Near the {place} {hero} heard [a thin cry|a strange sound]. It was a {animal}, and it [could not walk|was afraid|had lost its mother].",
            "In the {place} lived a {animal} that [nobody had ever caught|came every evening|was afraid of people].",
        ],
        [
            "{hero} [knelt down|came closer step by step] and [held out {his} hand|spoke softly]. The {animal} [did not move|looked at {him}|trembled].",
            "{He} brought [water|a warm blanket|some {food}], and the {animal} [ate|drank] [a little|everything].",
            "\"[Do not be afraid|I will help you],\" {he} [said|whispered].",
        ],
        [
            "{friend}, who was a {job}, [looked at its leg|knew about animals] and said that it needed [rest|{n} days of rest|clean water].",
            "{He} made a bed of [straw|hay|old clothes] in {a_object}, and the {animal} slept there [all night|until noon].",
            "For {n} days {hero} [fed it|looked after it|carried it outside into the sun].",
        ],
        [
            None,
            "At night a storm came, and {hero} [stayed with it|heard it walking up and down|brought it inside].",
            "The {animal} grew [strong|fat|brave] and [followed {hero} everywhere|stole the {food} from the table|learned to open the door].",
        ],
        [
            "When it was [well|strong] again, {hero} [opened the gate|carried it back to the {place}], and it [ran|went] away without looking back. [But the next {season} it came back with {n} young ones|Sometimes {he} still hears it at night].",
            "Since then the two are friends, and when {hero} goes to the {place2}, the {animal} [waits at the door|walks beside {him}].",
            "One day it was gone. {hero} was sad, but {friend} said: \"[It belongs to the {place2}|It is free now].\"",
        ],
    ],
    "storm": [
        [
            "The sky over {town} turned [grey|black|{colour}], and [the birds were silent|the wind grew stronger|the first drops fell].",
            "In the night from {day} to the next morning a storm [hit|reached] {town}.",
            "\"There will be a storm,\" said {hero} the {job}, and looked at the [clouds|sea|hills].",
        ],
        [
            "People [closed their windows|brought in the washing|ran home]. {hero} [tied down the boat|fetched the animals|carried wood inside].",
            "{hero} and {friend} were still in the {place} when [the rain began|it thundered for the first time].",
            "The wind [tore|took] [{n} tiles from the roof|the door of the {place}|a branch from the old tree].",
        ],
        [
            "Then the lights went out. {friend} lit [a candle|the lamp], and they sat [close together|by the fire] and [counted the seconds between lightning and thunder|told each other stories].",
            "Water came [under the door|through the roof], so they put [bowls|buckets] [everywhere|on the floor] and [laughed|worked without a word].",
            "Somebody knocked. It was the {job}, [wet to the skin|with a {animal} under the arm], who asked [for shelter|for help with the {place2}].",
        ],
        [
            "Toward morning it grew quiet. [The air smelled of wet earth|A bird began to sing].",
            "After {hours} hours the rain stopped as suddenly as it had begun.",
        ],
        [
            "In the {place2} {n} trees lay on the ground, but nobody was hurt. All the neighbours [helped|came with saws] and [cleared the road|mended the roof].",
            "{hero} found {a_object} that the wind had brought. [It belonged to nobody, so {he} kept it|{He} gave it back to its owner].",
            "\"[We were lucky|The old house is strong],\" said {friend}, and {he2} [made tea|opened all the windows].",
        ],
    ],
    "market": [
        [
            "On {day} there is a market in {town}. {hero} [sells|has been selling] {food} there [for {n} years|since {his} mother grew old].",
            "{hero} went to the market [with {n} coins|to sell {a_object}|early in the morning].",
            "Nobody wanted to buy the {food} of {hero}, [although it was good|because it was raining].",
        ],
        [
            "A {job} stopped and asked: \"What does the {object} cost?\" \"{N} coins,\" said {hero}.",
            "\"{N} coins are too much,\" said {friend}. \"I will give you {n2}.\" They [talked for a while|both laughed] and agreed on [something in between|a fair price].",
            "Across the square {friend} sold [{food2}|baskets|old books] and [shouted louder than anyone|had more customers].",
        ],
        [
            "Then a {animal} ran between the tables, and [the {food} rolled over the street|a basket fell over|everybody jumped aside].",
            "In the afternoon it [rained|grew hot], and the people [went home|stood under the roof of the {place}].",
            "{hero} had an idea: {he} [gave everyone a piece to taste|wrote a large sign|put {colour} flowers on the table].",
        ],
        [
            "By evening [everything was sold|only one was left], and {hero} [bought a present for {friend}|gave the last piece to a child].",
            "[On the way home|That night] {he} counted the coins: there were [more|fewer] than [last week|{he} had hoped].",
            "{friend} and {hero} [packed their things|shared their {food}] and said: \"See you next {day}!\"",
        ],
    ],
    "learning": [
        [
            "{hero} wanted to learn to [swim|play the flute|read maps|ride|paint|write with a pen|dance|sail|whistle|cook].",
            "{hero} was [the youngest|the oldest] in the class, and [nothing was easy for {him}|{he} asked the most questions].",
            "\"I will never [understand|learn] it,\" said {hero} and put [the book|the pencil|the {thing}] down.",
        ],
        [
            "{friend} [the {job}|the teacher] said: \"[Begin with the easy part|Do a little every day|Show me what you can do].\"",
            "So {he} practised [every morning|after work|for {hours} hours a day], [even when it rained|while the others slept].",
            "On the first day {he} made {n} mistakes, on the second day [only {n2}|almost as many].",
        ],
        [
            "Sometimes {he} [was tired|wanted to stop|was angry with {himself}], but then {he} thought of [{friend}|{his} father|how far {he} had come].",
            "{friend} showed {him} a trick: [to breathe slowly|to count aloud|to look far ahead].",
            None,
        ],
        [
            "In {season} [it suddenly worked|{he} could do it without thinking|nobody was better than {he2}].",
            "When the [day of the test|festival] came, {his} hands [shook|were cold], yet {he} [made no mistake|did better than ever].",
        ],
        [
            "\"How did you do it?\" asked [the others|a small child]. \"[Step by step|I made many mistakes],\" said {hero}.",
            "Today {hero} teaches [the children of {town}|{friend} in return], and {he} [begins|always begins] with the easy part.",
            "{He} [was proud|smiled], and {friend} [was prouder still|clapped {fhis} hands].",
        ],
    ],
    "mystery": [
        [
            "Every night at [ten|midnight|two] {hero} heard [a knock|steps|a song] [in the {place}|behind the wall|above {his} room].",
            "[On {day}|One morning] there was {a_object} in front of the door of {hero}. Nobody knew where it came from.",
            "In the {place} of {town} a [light|lamp] was burning, although [nobody lived there|it had been closed for {n} years].",
        ],
        [
            "\"[It is only the wind|It must be a {animal}],\" said {friend}. But {hero} [was not so sure|wanted to know].",
            "{He} [asked the neighbours|wrote down the time|waited behind the door], but [nobody knew anything|it was quiet].",
            "{hero} and {friend} made a plan: one would [watch the door|hold the lamp], the other would [hide in the {place}|follow the sound].",
        ],
        [
            "They waited for {hours} hours. Then [the floor creaked|a shadow moved|something {colour} passed the window].",
            "[On the floor|In the snow|In the sand] they found [tracks|{n} crumbs|a {colour} thread] that led to the {place2}.",
            "Slowly the door opened, and {hero} [held {his} breath|raised the lamp].",
        ],
        [
            "It was [a {animal}|a {job} who walked in {his} sleep|only {a_object2} that moved in the wind]!",
            "There stood the {job} and [turned red|laughed]. \"I wanted to [surprise you|practise where nobody hears me|bring back what I had borrowed].\"",
            "Behind the {place2} sat a {animal} with {n} young ones. [It had been looking for food|The sound had been theirs].",
        ],
        [
            "So the riddle was solved, and [{hero} slept well again|they all drank tea together].",
            "{friend} wrote the whole story down, [and this is how we know it|but nobody believed it].",
            "\"I told you so,\" said {friend}. \"You said it was [the wind|a ghost],\" said {hero}.",
        ],
    ],
    "garden": [
        [
            "Behind the house {hero} had a garden [where nothing grew|full of {food}|with {n} trees].",
            "In spring {hero} [planted|put] {n} [seeds|small plants] in the ground.",
            "{friend} gave {hero} a [small bag of seeds|{colour} flower in a pot] and said: \"[Give it water and time|Wait and see].\"",
        ],
        [
            "{He} watered them every [morning|evening], but [for weeks|for a long time] nothing happened.",
            "The sun was [hot|weak], and the earth was [dry|hard], so {he} carried water from the [well|river|{place}].",
            "[One night|On {day}] a {animal} came and [ate half of them|dug a deep hole].",
        ],
        [
            "{hero} built a fence out of [old wood|wire|stones]. {friend} helped {him} [dig|carry|measure].",
            "Then [it rained for {n} days|the first green leaves appeared|a small {colour} flower opened].",
            "They pulled out the weeds and put [straw|ash|leaves] around every plant.",
        ],
        [
            "In {season2} there was so much {food} that {hero} [gave some to everyone in {town}|could not eat it all|sold it at the market].",
            "The plant grew [higher than the fence|up to the window|as tall as {hero}], and [birds built a nest in it|people came to see it].",
        ],
        [
            "\"[What is your secret|How did you do that]?\" asked the {job}. \"[Water, time and a good fence|Patience],\" said {hero}.",
            "{He} kept the best seeds in {a_object} for the next year.",
            "When winter came, {hero} and {friend} [sat by the fire|looked at the white garden] and [planned the next spring|ate the last {food}].",
        ],
    ],
    "gift": [
        [
            "{friend} had a birthday on {day}, and {hero} [had no present yet|had only {n} coins|had forgotten it].",
            "{hero} wanted to give {friend} something [special|that no shop sells|{fhe} would never forget].",
        ],
        [
            "In the shop there was {a_object}, but it [cost too much|was already sold|had a crack].",
            "{He} thought of {a_object}, but {friend} [had one already|did not like {colour} things].",
            "\"What does {friend} [like|need]?\" {he} asked the {job}. \"[{Food}|Old stories|Time],\" said the {job}.",
        ],
        [
            "So {he} [took|found] a piece of {material} and made {a_object2} [with {his} own hands|in one night].",
            "{He} wrote a [song|letter|small book] about the day when they [first met|got lost in the {place}|saw the {animal}].",
            "{He} asked all the neighbours to [bring {food}|come to the {place} in secret|tell one good memory].",
        ],
        [
            "When {friend} [opened the parcel|came in|saw it], {fhe} [said nothing for a while|began to laugh|had tears in {fhis} eyes].",
            "\"[How did you know|You made this for me]?\" said {friend}. \"It is the [best|finest] present I ever got.\"",
        ],
        [
            "To this day the {thing2} stands [on the shelf|beside the bed|in the window] of {friend}.",
            "They ate {food} and {food2} until [it was dark|nobody could move].",
            "And {hero} learned that [a present need not cost much|the best presents are made by hand].",
        ],
    ],
    "contest": [
        [
            "Every {season} there is a [race|contest] in {town}. [Whoever wins gets {a_object}|The prize is a basket of {food}].",
            "{hero} and {friend} both wanted to win the [race|boat race|cooking contest|singing contest].",
            "{hero} had [trained for {n} weeks|never won anything], but this year {he} [felt ready|had a plan].",
        ],
        [
            "{N} people stood at the start. The {job} [raised a {colour} flag|blew a horn].",
            "At first {friend} was ahead, [and nobody came near {fhim}|but only by a little].",
            "{hero} began [slowly|calmly] and [passed one after the other|kept {his} strength].",
        ],
        [
            "Halfway {friend} [fell|lost {fhis} shoe|dropped {fhis} {thing}]. {hero} [saw it|looked back] and [stopped|thought for a moment].",
            "Then a {animal} ran across the way, and everybody [stopped|laughed].",
            "It began to rain, the ground grew [soft|slippery], and [two of them gave up|{hero} went on].",
        ],
        [
            "{He} helped {friend} up, and they [went on together|reached the end side by side].",
            "In the end {hero} won by [one step|a hair]. {friend} came second and was the first to [shake {his} hand|congratulate {him}].",
            "{hero} came last, but {he} [was glad that {he} had finished|got the loudest applause].",
        ],
        [
            "They shared the prize: {hero} took [half of it|the {food}] and {friend} [the rest|the {thing}].",
            "\"Next year I will win,\" said {friend}. \"We will see,\" said {hero}.",
            "The {job} said that [helping was worth more than winning|it had been the best {season} for {n} years].",
        ],
    ],
}

# Sentences that may stand between two beats.
AIR = [
    "The wind [came from the north|smelled of rain|was warm].", "It was a [quiet|long|bright|cold] day.", "Somewhere a {animal2} [called|could be heard].",
    "The {place2} lay [still|dark|in the sun].", "{hero} was [tired|hungry|in a good mood|a little afraid].", "Time passed [slowly|quickly].",
    "[The clock struck {hour}|The bell of the church rang].", "{friend} said nothing.", "Nobody [spoke|noticed].", "The sun [went down|came out|stood high].",
    "There was a smell of [smoke|{food}|wet wool|flowers].", "{hero} [smiled|sighed|nodded].", "\"[Strange|Interesting|Well],\" [said|thought] {hero}.",
    "[Far away|Across the river] a dog barked.", "It was [almost dark|still early|nearly noon].", "{hero} [drank some water|sat down for a moment|wiped {his} hands].",
]

OPENERS = [
    "", "", "", "Once there was a {job} named {hero} who lived in {town}. ", "In the [small|old|quiet] town of {town} lived {hero}, a [young|clever|poor|kind] {job}. ",
    "This happened in {season}, many years ago. ", "{hero} was a {job}. ", "{hero} and {friend} [had been friends since school|were neighbours|worked together in the {place}]. ",
    "When {hero} was [a child|{n} years old], {he} lived near {a_place}. ", "My grandmother told me this story. ", "Have you heard of {hero} from {town}? ",
]

CLOSERS = ["", "", "", "", " And that was the end of it.", " {hero} still tells this story today.", " They never spoke of it again.", " It had been a good day.", " Then everyone went to sleep."]

TITLES = ["{hero} and the {thing}", "The {animal} of {town}", "A {weather} day", "The {colour} {thing}", "What {hero} found", "{hero}, {friend} and the {animal}", "The {object}"]
